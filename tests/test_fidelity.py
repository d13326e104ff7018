"""docs/fidelity.md and the papers' presets say the same."""

import dataclasses
import importlib
import re
from pathlib import Path

import pytest
import yaml

from rcnn.config import Config
from rcnn.presets import PRESETS, papers
from rcnn.presets.rows import ROWS, row_config

PAGE = (Path(__file__).parents[1] / "docs" / "fidelity.md").read_text("utf-8")
VALUE = r"`[^`]*`(?: \([^)]*\))?"
ENTRY = re.compile(rf"`((?:input|model|training|rcnn)\.[\w.]+)`(?:: ({VALUE}(?:, {VALUE})*))?")
PAPER_PRESETS = {name for name, function in PRESETS.items() if function.__module__ == papers.__name__}
DEFAULTS = Config()


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a table: where it stands, what the papers have, what is ours, and why."""

    section: str
    what: str
    theirs: str
    ours: str
    why: str


@dataclasses.dataclass(frozen=True)
class Claim:
    """That a name has a value in some presets or rows; without a value, that the name exists."""

    name: str
    value: object
    scopes: tuple[str, ...]


def sections():
    """The page's parts by headline."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def presets_of(text):
    line = next((line for line in text.splitlines() if re.match(r"Presets?:", line)), "")
    return tuple(re.findall(r"`([^`]+)`", line.partition(" Paper:")[0]))


def lines():
    for section, text in sections().items():
        for row in re.findall(r"^\|(.*)\|$", text, flags=re.MULTILINE)[2:]:
            what, _, theirs, ours, why = (cell.strip() for cell in row.split("|"))
            yield Line(section, what, theirs, ours, why)


def claims_of(cell):
    """Names with their values; a value without brackets is that of all presets of the table."""
    for name, values in ENTRY.findall(cell):
        if not values:
            yield Claim(name, None, ())
        for value, scopes in re.findall(r"`([^`]*)`(?: \(([^)]*)\))?", values):
            yield Claim(name, yaml.safe_load(value), tuple(scopes.split(", ")) if scopes else ())


LINES = list(lines())
CLAIMS = [(line, claim) for line in LINES for claim in claims_of(f"{line.ours} {line.why}")]
SETTINGS = [(line, claim) for line, claim in CLAIMS if not claim.name.startswith("rcnn.")]
NAMES = [claim for _, claim in CLAIMS if claim.name.startswith("rcnn.")]
TITLES = [f"{line.section}: {line.what}: {claim.name}" for line, claim in SETTINGS]


def config_of(name):
    return PRESETS[name]() if name in PRESETS else row_config(ROWS[name])


def setting(config, dotted):
    for part in dotted.split("."):
        config = getattr(config, part)
    return plain(config)


def plain(value):
    """Tuples as lists, as YAML has them."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def resolve(dotted):
    """The object of a dotted name."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AssertionError(dotted)


def flat(config, prefix=""):
    for name in type(config).model_fields:
        value = getattr(config, name)
        if hasattr(type(value), "model_fields"):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_every_preset_of_the_papers_has_its_table():
    tables = [name for text in sections().values() for name in presets_of(text)]
    assert sorted(tables) == sorted(PAPER_PRESETS)


@pytest.mark.parametrize(("line", "claim"), SETTINGS, ids=TITLES)
def test_a_setting_is_as_the_page_says(line, claim):
    table = presets_of(sections()[line.section])
    others = [claim_ for claim_ in claims_of(line.ours) if claim_.name == claim.name]
    own = {scope for other in others for scope in other.scopes}
    scopes = claim.scopes or [name for name in table if name not in own]
    assert scopes
    for name in scopes:
        assert name in PRESETS or name in ROWS, f"{name} is neither a preset nor a row"
        assert setting(config_of(name), claim.name) == claim.value, f"{claim.name} in {name}"


@pytest.mark.parametrize("claim", NAMES, ids=[claim.name for claim in NAMES])
def test_a_name_of_the_source_exists_and_has_its_value(claim):
    found = resolve(claim.name)
    if claim.value is not None:
        assert plain(found) == claim.value


@pytest.mark.parametrize("preset", sorted(PAPER_PRESETS))
def test_every_setting_that_is_not_the_default_is_on_the_page_with_its_value(preset):
    section = next(name for name, text in sections().items() if preset in presets_of(text))
    named = {
        claim.name
        for line, claim in SETTINGS
        if line.section == section and (not claim.scopes or preset in claim.scopes)
    }
    default = dict(flat(DEFAULTS))
    differing = {name for name, value in flat(config_of(preset)) if value != default[name]}
    assert differing - named == set()


@pytest.mark.parametrize("name", ROWS)
def test_what_a_row_changes_is_on_the_page(name):
    section = next(text for text in sections().values() if ROWS[name].preset in presets_of(text))
    rcnn = sections()["R-CNN"]
    assert [key for key in ROWS[name].changes if f"`{key}`" not in section + rcnn] == []


@pytest.mark.parametrize("line", LINES, ids=[f"{line.section}: {line.what}" for line in LINES])
def test_another_number_than_the_papers_has_its_reason(line):
    numbers = {float(n) for n in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])", line.theirs)}
    numbers |= {1000 * float(n) for n in re.findall(r"(\d+)k", line.theirs)}
    ours = [claim.value for claim in claims_of(line.ours) if not claim.scopes]
    other = [value for value in ours if type(value) in (int, float) and float(value) not in numbers | {0.0}]
    assert not other or line.why, f"{line.what}: {other} is not among {sorted(numbers)}"


def test_each_line_says_what_is_ours_or_why_there_is_nothing():
    assert [line.what for line in LINES if not line.ours and not line.why] == []
