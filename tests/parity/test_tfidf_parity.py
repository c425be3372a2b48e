"""Term weights against scikit-learn's vectoriser, which the stored state has to equal without being pickled."""

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from oncoweave.modalities import report
from oncoweave.modalities.report import Sample

WORDS = ["tumour", "margin", "free", "gland", "stroma", "the", "of", "no", "is", "T2", "a", "µm", "naïve", "β-catenin", "5cm"]


def assert_parity(texts: list[str], new: list[str]) -> None:
    fitted = report.fit([Sample(patient_id=str(i), text=t) for i, t in enumerate(texts)])
    least = 2 if len(texts) >= 10 else 1
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=least, max_features=report.MAX_TERMS).fit(texts)
    assert fitted.tfidf.terms == tuple(theirs.get_feature_names_out())
    for some in (texts, new):
        difference = np.abs(fitted.tfidf(some) - theirs.transform(some))
        assert difference.max() < 1e-14  # the sums are formed in another order


@pytest.mark.parametrize("count", [4, 25])
def test_weights_equal_scikit_learn(rng, count):
    texts = [" ".join(rng.choice(WORDS, size=30)) + ".\nEnd, of report" for _ in range(count)]
    assert_parity(texts, ["Unknown words; TUMOUR margin\tfree", "", "ÄÖÜ"])


@pytest.mark.real
def test_weights_equal_scikit_learn_on_real_reports(real_data):
    table = pd.read_csv(real_data / "tcga_reports" / "pathrep_val.csv.gz", nrows=60)
    column = next(c for c in table.columns if table[c].dtype == object and table[c].str.len().mean() > 500)
    texts = table[column].dropna().tolist()
    assert_parity(texts[:50], texts[50:])
