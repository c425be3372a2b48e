"""The plain manifest: a YAML page that says which tables hold which patients, outcomes and modalities."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from oncoweave.core.schema import Strict
from oncoweave.core.units import TimeUnit
from oncoweave.data.importers.sources import MISSING_MARKS

_YES = ("yes", "true", "Yes", "True", "YES", "TRUE")
_NO = ("no", "false", "No", "False", "NO", "FALSE")


def _values(given: Any) -> Any:  # noqa: ANN401
    """Undo YAML's reading of a bare yes or no as a truth value, so that the cell's own text can be matched."""
    if not isinstance(given, dict):
        return given
    spelled: dict[str, Any] = {}
    for key, value in given.items():
        names = _YES if key is True else _NO if key is False else (str(key),)
        spelled.update(dict.fromkeys(names, value))
    return spelled


ZeroOne = Annotated[dict[str, Literal[0, 1]], BeforeValidator(_values)]


class Patients(Strict):
    """The table with one row a patient."""

    table: str
    patient: str = "patient_id"
    site: str | None = None
    """Column that names the hospital."""
    site_from_barcode: bool = False
    """Take the hospital from the TCGA barcode in the patient id (characters 6 and 7)."""
    keep: tuple[str, ...] = ()
    """Other columns to keep beside the outcomes, to report by group; they are not features."""
    id_prefix: str | None = None


class Survival(Strict):
    """Time to an event."""

    kind: Literal["survival"]
    table: str | None = None
    time: str
    event: str
    unit: TimeUnit
    event_values: ZeroOne | None = None
    """What the event column's cells mean, when they are not 0 and 1."""
    censored_time: str | None = None
    """Column of the time for patients without the event, where it is not in ``time``."""
    negative_times: Literal["refuse", "unknown"] = "refuse"
    """What a time before the index date makes of a patient: an error, or an unknown outcome."""


class Binary(Strict):
    """Yes or no: a column, or an event within a horizon."""

    kind: Literal["binary"]
    table: str | None = None
    column: str | None = None
    values: ZeroOne | None = None
    classes: tuple[str, str] | None = None
    """Names of the negative and the positive class."""
    within: float | None = Field(default=None, gt=0)
    """Horizon in the unit of ``of``: 1 = event by then, 0 = followed beyond it without, unknown = censored before."""
    of: str | None = None
    """Name of the survival endpoint that ``within`` refers to."""


class Classes(Strict):
    """One of several classes, ordered from low to high when the kind is ordinal."""

    kind: Literal["multiclass", "ordinal"]
    table: str | None = None
    column: str
    classes: tuple[str, ...] | None = None


class Multilabel(Strict):
    """Several labels, each 0, 1 or unknown for a patient."""

    kind: Literal["multilabel"]
    table: str | None = None
    columns: tuple[str, ...] = Field(min_length=1)
    values: ZeroOne | None = None


class Regression(Strict):
    """A number."""

    kind: Literal["regression"]
    table: str | None = None
    column: str


EndpointSource = Annotated[Survival | Binary | Classes | Multilabel | Regression, Field(discriminator="kind")]


class ModalitySource(Strict):
    """A modality: a table, and how its rows are read."""

    kind: Literal["record", "expression", "variants", "report", "slide", "embedding", "volume", "film"]
    table: str
    patient: str = "patient_id"
    sample: str | None = None
    """Column that names the specimen; without it a patient may have one row only."""
    columns: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    """Columns whose numbers are codes without an order."""
    id_prefix: str | None = None
    """Text before this table's patient ids that the patient table does not have."""
    orientation: Literal["patients_in_rows", "genes_in_rows"] = "patients_in_rows"
    genes: str | None = None
    """Column of the gene names when genes stand in rows; the first one when not given."""
    repeated_vectors: Literal["keep", "absent"] = "keep"
    """Embeddings: whether a vector that stands more than once, in this table or in another of the same encoder, is the encoding
    of an empty image, so that the patient lacks the modality."""
    scale: Literal["counts", "log2", "z"] | None = None
    encoder: str | None = None
    text: str = "text"
    slide: str = "slide_id"
    path: str = "path"
    image: str | None = None
    """Column with the path of the slide image, beside that of its bag."""
    notes: dict[str, str] = Field(default_factory=dict)


class CohortSource(Strict):
    """The whole page."""

    name: str
    patients: Patients
    endpoints: dict[str, EndpointSource] = Field(default_factory=dict)
    modalities: dict[str, ModalitySource] = Field(min_length=1)
    missing_values: tuple[str, ...] = MISSING_MARKS
    """Cells that mean "nothing is known"; replaces the usual list."""
