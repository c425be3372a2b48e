"""Wording of phantom pathology reports: several ways to say each fact, ways to deny it, and text that says nothing."""

SUBTYPE = (
    (
        "invasive adenocarcinoma forming well-defined tubular glands",
        "gland-forming adenocarcinoma infiltrating a desmoplastic stroma",
        "adenocarcinoma, predominantly acinar growth",
        "infiltrating tubular glands lined by columnar tumour cells",
    ),
    (
        "carcinoma growing in solid sheets without gland formation",
        "nests and sheets of polygonal cells with distinct cell borders; glands are not seen",
        "solid-pattern carcinoma",
        "poorly gland-forming carcinoma arranged in large cohesive nests",
    ),
    (
        "discohesive carcinoma infiltrating as single cells and cords",
        "tumour cells in single files and small clusters, lacking cohesion",
        "diffusely infiltrating carcinoma with a single-cell pattern",
        "small loose clusters and isolated tumour cells without gland formation",
    ),
)
"""By subtype."""
GRADE = (
    ("well differentiated (G1)", "low grade", "grade 1 of 3", "G1"),
    ("moderately differentiated (G2)", "intermediate grade", "grade 2 of 3", "G2"),
    ("poorly differentiated (G3)", "high grade", "grade 3 of 3", "G3"),
)
MITOSES = (
    ("Mitotic figures are sparse.", "Only occasional mitoses.", "Mitotic activity is low."),
    ("Mitotic activity is moderate.", "Mitoses are readily found.", "Scattered mitotic figures."),
    ("Brisk mitotic activity.", "Mitotic figures are numerous, some of them atypical.", "High mitotic rate."),
)
"""Low, middle, high."""
INFILTRATE = (
    (
        "There is hardly any inflammatory response.",
        "Lymphocytic infiltrate is absent to minimal.",
        "No significant lymphocytic reaction is identified.",
        "TILs < 5 %.",
    ),
    (
        "A mild patchy lymphocytic infiltrate is present.",
        "Moderate peritumoural inflammation.",
        "Scattered lymphocytes at the invasive front.",
        "TILs about 15 %.",
    ),
    (
        "Dense lymphocytic infiltrate in and around the tumour.",
        "Prominent tumour-infiltrating lymphocytes, focally in follicles.",
        "Marked host response with a band-like lymphoid reaction.",
        "TILs estimated at 60 %.",
    ),
)
"""Little, some, much."""
LYMPHOVASCULAR = (
    (
        "Lymphovascular invasion is not identified.",
        "No evidence of lymphatic or vascular invasion.",
        "LVI: absent.",
        "Negative for lymphovascular invasion.",
        "Vessels are free of tumour; L0 V0.",
    ),
    (
        "Lymphovascular invasion is present.",
        "Tumour emboli are seen within lymphatic channels.",
        "LVI: present, multifocal.",
        "Positive for lymphovascular invasion.",
        "Invasion of small vessels is identified (L1).",
    ),
)
"""Absent, present."""
PERINEURAL = (
    ("No perineural invasion.", "Perineural invasion is not seen.", "PNI: absent.", "Nerves are free of tumour (Pn0)."),
    ("Perineural invasion is identified.", "PNI: present.", "Tumour tracks along nerve sheaths (Pn1)."),
)
NODES = (
    (
        "All {total} lymph nodes are free of tumour (0/{total}).",
        "No nodal metastasis in {total} nodes examined.",
        "pN0 (0/{total}).",
    ),
    (
        "Metastatic carcinoma in {positive} of {total} lymph nodes.",
        "{positive}/{total} nodes positive for metastasis.",
        "Nodal metastases are present ({positive}/{total}).",
    ),
)
METASTASIS = (
    "Distant metastasis has been confirmed by biopsy (pM1).",
    "The separate liver fragment contains metastatic carcinoma; stage IV.",
    "Peritoneal deposits are positive for carcinoma (M1).",
)
STAGE = ("Pathological stage: {stage}.", "Stage group {stage} (TNM).", "AJCC stage {stage}.", "Overall stage {stage}.")
SIZE = (
    "The tumour measures {a} x {b} x {c} cm.",
    "Greatest tumour dimension {a} cm.",
    "A firm grey-white mass of {a} x {b} cm is found on sectioning.",
)
KI67 = ("Ki-67 labels about {index} % of tumour nuclei.", "Proliferation index (MIB-1): {index} %.", "Ki67 ~{index}%.")
MARGINS = (
    "Resection margins are free of tumour.",
    "All margins negative; closest {distance} mm.",
    "The surgical margins are uninvolved (R0).",
    "Tumour does not extend to the inked margin.",
)
GROSS = (
    "Received fresh, labelled with the patient's identifiers, is a resection specimen of {weight} g.",
    "Specimen received in formalin, oriented with sutures, weighing {weight} g.",
    "The container holds one unopened specimen. Serially sectioned at 5 mm.",
    "A resection specimen, inked and sectioned from superior to inferior.",
)
BOILERPLATE = (
    "Representative sections are submitted in cassettes A1 to A{blocks}.",
    "This report was reviewed and signed electronically.",
    "Immunohistochemistry was performed with appropriate controls.",
    "The case was discussed at the multidisciplinary conference.",
    "Special stains are non-contributory.",
    "Tissue was retained for molecular studies.",
    "The findings were communicated to the treating physician.",
    "All slides were examined by the undersigned.",
)
DISTRACTORS = (
    "Clinical history: mother with breast carcinoma with lymphovascular invasion.",
    "The previous biopsy, reported elsewhere as high grade, was not available for review.",
    "Background parenchyma shows mild chronic inflammation, unrelated to the tumour.",
    "Retraction artefact should not be mistaken for vascular invasion.",
    "Clinical question: exclude nodal metastasis.",
    "A benign cyst is an incidental finding.",
)
"""Sentences that name a finding without stating it of this tumour."""
HEADINGS = (
    ("SPECIMEN:", "GROSS DESCRIPTION:", "MICROSCOPIC DESCRIPTION:", "DIAGNOSIS:"),
    ("Material", "Macroscopy", "Microscopy", "Conclusion"),
    ("1. Specimen", "2. Gross", "3. Histology", "4. Final diagnosis"),
)
"""By house style of a site."""
SPECIMENS = ("Resection specimen.", "Tumour, resection.", "Excision, primary tumour.", "Partial resection with lymph nodes.")
