"""Write what is generated from the chart's values files and its tables, or check that it is current."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from ci.chart.flows import flows_section, read_flows
from ci.chart.guardrails import access_section, guardrails_section
from ci.chart.moved import admit_moved, read_moved
from ci.chart.readme import values_section
from ci.chart.schema import component_schema, umbrella_schema
from ci.chart.values import ValuesError, read_values

HERE = Path(__file__).resolve().parent
CHART = HERE.parents[1] / "charts" / "lighthouse"


def generated(chart: Path) -> dict[Path, str]:
    """The content of every generated file of an umbrella chart by its path; raises ValuesError."""
    umbrella = _metadata(chart)
    names = [entry["name"] for entry in umbrella["dependencies"]]
    subcharts = {name: _metadata(chart / "charts" / name) for name in names}
    for name, metadata in subcharts.items():
        for key in ("version", "appVersion"):
            if metadata[key] != umbrella[key]:
                raise ValuesError(f"{key} of the chart {name} is {metadata[key]}; set it to {umbrella[key]}.")
    libraries = [name for name, metadata in subcharts.items() if metadata["type"] == "library"]
    components = [name for name in subcharts if name not in libraries]
    definitions = yaml.safe_load((HERE / "definitions.yaml").read_text())

    values = read_values(chart / "values.yaml")
    schema = umbrella_schema("lighthouse", values, components, libraries, definitions)
    moved = read_moved(chart / "files" / "moved.yaml")
    admit_moved(schema, moved)
    files = {chart / "values.schema.json": _json(schema)}
    sections = [values_section("lighthouse", "What components share, and which are installed.", values)]
    for name in components:
        folder = chart / "charts" / name
        values = read_values(folder / "values.yaml")
        schema = component_schema(name, values, definitions)
        admit_moved(schema, moved, f"{name}.")
        files[folder / "values.schema.json"] = _json(schema)
        sections.append(values_section(name, subcharts[name]["description"], values, f"{name}."))

    readme = (HERE / "readme.md").read_text()
    words = {name: subcharts[name]["description"] for name in components}
    words |= {key: umbrella[key] for key in ("description", "version", "kubeVersion")}
    words["values"] = "\n".join(sections).rstrip()
    for word, text in words.items():
        readme = readme.replace("{{" + word + "}}", text)
    files[chart / "README.md"] = readme
    tables = chart / "files"
    page = (HERE / "security.md").read_text()
    for word, text in {
        "flows": flows_section(read_flows(tables / "flows.yaml")),
        "guardrails": guardrails_section(tables / "guardrails.yaml"),
        "access": access_section(tables / "access.yaml"),
    }.items():
        page = page.replace("{{" + word + "}}", text)
    files[chart.parents[1] / "docs" / "security.md"] = page
    return files


def _metadata(chart: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = yaml.safe_load((chart / "Chart.yaml").read_text())
    return metadata


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ci.chart", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is not current")
    check = parser.parse_args().check
    try:
        files = generated(CHART)
    except ValuesError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if check:
            shown = path.relative_to(CHART.parents[1])
            print(f"{shown} is not current; run `python -m ci.chart`.", file=sys.stderr)
        else:
            path.write_text(files[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
