"""cBioPortal studies: not profiled is absent, never wild type."""

import numpy as np
import pytest

from oncoweave.core.errors import DataError
from oncoweave.data.importers.cbioportal import read

PATIENTS = """#Patient Identifier\tStatus\tMonths\tAge\tVital\tCenter
#x\tx\tx\tx\tx\tx
#STRING\tSTRING\tNUMBER\tNUMBER\tSTRING\tSTRING
#1\t1\t1\t1\t1\t1
PATIENT_ID\tOS_STATUS\tOS_MONTHS\tAGE\tVITAL_STATUS\tCENTER
P1\t1:DECEASED\t10.5\t60\tdead\tMSK
P2\t0:LIVING\t20\t[Not Available]\talive\tMSK
P3\tDECEASED\t\t50\tdead\tDFCI
"""
SAMPLES = """PATIENT_ID\tSAMPLE_ID\tSAMPLE_TYPE\tSUBTYPE
P1\tS1\tPrimary\tA
P1\tS1m\tMetastasis\tB
P2\tS2\tPrimary\tA
P3\tS3\tPrimary\tB
P3\tS3n\tSolid Tissue Normal\tB
P4\tS4\tPrimary\tNA
"""
MAF = """#version 2.4
Hugo_Symbol\tTumor_Sample_Barcode\tVariant_Classification\tMutation_Status
TP53\tS1\tMissense_Mutation\tSomatic
TP53\tS1\tNonsense_Mutation\tSomatic
KRAS\tS2\tMissense_Mutation\tSomatic
EGFR\tS2\tSilent\tSomatic
BRAF\tS1\tMissense_Mutation\tSomatic
TERT\tS1m\t5'Flank\tSomatic
KRAS\tS1m\t5'Flank\tSomatic
KRAS\tS3n\tMissense_Mutation\tSomatic
EGFR\tS1m\tMissense_Mutation\tWildtype
"""
MATRIX = "SAMPLE_ID\tmutations\tgistic\nS1\tSMALL\tNA\nS1m\tNA\tSMALL\nS2\tNA\tNA\n"
PANEL = "stable_id: SMALL\ngene_list: TP53\tKRAS\n"
CNA = "Hugo_Symbol\tEntrez_Gene_Id\tS1\tS1m\tS3\nTP53\t7157\t-2\t1\tNA\nBRAF\t673\t0\t2\tNA\nTP53\t7157\t0\t0\t0\n"


def meta(alteration, datatype, stable_id, filename):
    fields = {"genetic_alteration_type": alteration, "datatype": datatype, "stable_id": stable_id, "data_filename": filename}
    return "".join(f"{k}: {v}\n" for k, v in {"cancer_study_identifier": "st", **fields}.items())


@pytest.fixture
def study(tmp_path):
    files = {
        "meta_study.txt": "cancer_study_identifier: st\nname: A study\n",
        "data_clinical_patient.txt": PATIENTS,
        "data_clinical_sample.txt": SAMPLES,
        "meta_mutations.txt": meta("MUTATION_EXTENDED", "MAF", "mutations", "data_mutations.txt"),
        "data_mutations.txt": MAF,
        "meta_matrix.txt": meta("GENE_PANEL_MATRIX", "GENE_PANEL_MATRIX", "", "data_gene_panel_matrix.txt"),
        "data_gene_panel_matrix.txt": MATRIX,
        "data_gene_panel_small.txt": PANEL,
        "meta_cna.txt": meta("COPY_NUMBER_ALTERATION", "DISCRETE", "gistic", "data_cna.txt"),
        "data_cna.txt": CNA,
        "meta_rppa.txt": meta("PROTEIN_LEVEL", "LOG2-VALUE", "rppa", "data_rppa.txt"),
        "data_rppa.txt": "Composite.Element.REF\tS1\nx\t1\n",
    }
    (tmp_path / "case_lists").mkdir()
    (tmp_path / "case_lists" / "cases_sequenced.txt").write_text(
        "cancer_study_identifier: st\nstable_id: st_sequenced\ncase_list_ids: S1\tS1m\tS2\n"
    )
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def counts(report):
    return {e.reason: e.count for e in report.entries}


def test_what_was_not_profiled_is_unknown_and_not_wild_type(study):
    cohort, report = read(study)
    variants = cohort.tables["variants"].set_index("sample_id")
    nan = np.nan
    wanted = {
        # S1 has the panel TP53 + KRAS: BRAF, EGFR and TERT were not looked at, and the BRAF call outside it is no knowledge
        "S1": {"TP53_mut": 1, "KRAS_mut": 0, "BRAF_mut": nan, "TERT_mut": nan, "TP53_cnv": -2, "BRAF_cnv": 0},
        # S1m is whole exome for mutations (TERT promoter kept, KRAS flank not), and has the panel for copy number
        "S1m": {"TP53_mut": 0, "KRAS_mut": 0, "BRAF_mut": 0, "TERT_mut": 1, "TP53_cnv": 1, "BRAF_cnv": nan},
        "S2": {"TP53_mut": 0, "KRAS_mut": 1, "BRAF_mut": 0, "TERT_mut": 0, "TP53_cnv": nan, "BRAF_cnv": nan},
    }
    for sample, values in wanted.items():
        np.testing.assert_array_equal(variants.loc[sample, list(values)].astype(float), list(values.values()), err_msg=sample)
    assert set(variants.index) == set(wanted)  # S3 and S4 were profiled for nothing: no row at all
    assert cohort.availability()["variants"].to_dict() == {"P1": True, "P2": True, "P3": False, "P4": False}
    said = counts(report)
    assert said["not profiled for mutations: absent"] == 2
    assert said["normal tissue, not tumour"] == 1
    assert said["a class that does not change the protein (silent, intron, UTR, flank)"] == 2
    assert said["called as wild type or loss of heterozygosity"] == 1
    assert said["the sample is not in the sample table"] == 1
    assert said["another row of the same gene; the first is kept"] == 1
    assert said["no modality reads them yet: data_rppa.txt"] == 1
    outside = [e.count for e in report.entries if e.reason.startswith("outside the sample's gene panel")]
    assert outside == [1, 1]  # one mutation, one copy number


def test_without_a_list_of_sequenced_samples_only_rows_prove_it(study):
    (study / "case_lists" / "cases_sequenced.txt").unlink()
    (study / "data_gene_panel_matrix.txt").unlink()
    (study / "data_mutations.txt").write_text("\n".join(line for line in MAF.splitlines() if "\tS2\t" not in line))
    cohort, _ = read(study)
    assert "S2" not in set(cohort.tables["variants"]["sample_id"])


def test_clinical_tables(study):
    cohort, report = read(study)
    np.testing.assert_array_equal(cohort.target("overall_survival").values, [[10.5, 1], [20, 0], [np.nan, 1], [np.nan, np.nan]])
    assert cohort.endpoint("overall_survival").time_unit == "months"
    assert cohort.site.tolist()[:3] == ["MSK", "MSK", "DFCI"]
    assert cohort.tables["clinical"].columns.tolist() == ["patient_id", "sample_id", "AGE"]
    assert counts(report)["tell the outcome: VITAL_STATUS"] == 1
    specimen = cohort.tables["specimen"].set_index("sample_id")
    assert specimen["SUBTYPE"].to_dict() == {"S1": "A", "S1m": "B", "S2": "A", "S3": "B", "S4": None}
    assert counts(report)["in the sample table only: kept, attributes not known"] == 1


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "data_clinical_patient.txt",
            "0:LIVING",
            "2:GONE",
            "OS_STATUS: 1 value.* neither 0: nor 1:, first '2:GONE' in line 7",
        ),
        ("data_clinical_patient.txt", "\nP2\t", "\nP1\t", r"1 patient\(s\) have more than one row, first in line 7"),
        ("data_clinical_patient.txt", "\t20\t", "\t2000\t", "longest follow-up is 2,000 months = 167 years .* probably days"),
        ("data_clinical_sample.txt", "\tS2\t", "\tS1\t", r"1 sample\(s\) are listed more than once, first in line 4"),
        ("data_gene_panel_matrix.txt", "SMALL", "LARGE", "names panel 'LARGE', which has no gene list"),
        ("data_cna.txt", "-2", "-7", r"no discrete copy number \(-2 to 2 or -1\.5\), first -7"),
        ("data_mutations.txt", "Hugo_Symbol", "Gene", "no column named 'Hugo_Symbol'"),
    ],
)
def test_what_cannot_be_used_is_refused(study, name, old, new, message):
    (study / name).write_text((study / name).read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read(study)


def test_events_without_a_time_are_said(study):
    path = study / "data_clinical_patient.txt"
    path.write_text(path.read_text().replace("\t10.5\t", "\t[Not Available]\t"))
    _, report = read(study)
    lost = [e for e in report.entries if "have the event but no time" in e.reason]
    assert [(e.kind, e.count, e.what) for e in lost] == [("unknown", 2, "patients")]
    assert "OS_MONTHS is empty" in lost[0].reason


def test_the_example_study(real_data):
    cohort, report = read(real_data / "genesets_and_genomics" / "cbioportal_study_es_0")
    assert len(cohort) == 841
    assert cohort.target("overall_survival").known.sum() == 808
    variants = cohort.tables["variants"].set_index("sample_id")
    mutations = [c for c in variants if c.endswith("_mut")]
    assert variants[mutations].notna().any(axis=1).sum() == 31  # the study's list of sequenced samples
    assert variants.loc["TEST_SAMPLE_7", mutations].isna().all()  # copy number only
    assert variants.loc["TCGA-A1-A0SB-02", "FGFR3_mut"] == 0  # in the second panel
    assert np.isnan(variants.loc["TCGA-A1-A0SB-02", "TP53_mut"])  # not in it
    assert variants.loc["TCGA-A1-A0SB-01", "TP53_mut"] == 1
    assert cohort.modalities["expression"].notes["scale"] == "log2"
    assert cohort.tables["expression"].set_index("sample_id").loc["TCGA-A1-A0SD-01", "CREB3L1"] == 1.4345
    assert counts(report)["not profiled for mutations: absent"] == 814


def test_lines_are_those_of_the_file_whatever_stands_above(study):
    clinical = PATIENTS.replace("P1\t1", "\nP1\t1").replace("P2\t0:LIVING\t20", "P2\t0:LIVING\tsoon")
    (study / "data_clinical_patient.txt").write_text(clinical)
    line = clinical.split("\n").index("P2\t0:LIVING\tsoon\t[Not Available]\talive\tMSK") + 1
    assert line == 8  # four comments, the header, a blank line and P1 stand above
    with pytest.raises(DataError, match=rf"data_clinical_patient.txt: column 'OS_MONTHS' .* first in line {line};"):
        read(study)


def test_values_of_a_matrix_are_placed_by_line_and_column(study):
    (study / "data_cna.txt").write_text("#comment\n" + CNA.replace("\t673\t0\t2", "\t673\t0\tgain"))
    with pytest.raises(DataError, match=r"data_cna.txt: column 4 must hold numbers, 1 value\(s\) are not, first in line 4"):
        read(study)
