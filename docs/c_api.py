"""Writes docs/c-api.md from rigi.h, and sdk_sim/abi.toml: what of it must not change by accident.

    python docs/c_api.py            # the reference, checked against the record
    python docs/c_api.py --record   # also the record: after a deliberate change

What the header cannot say (which statuses a call returns, what to do about them, the promises) is in docs/c-api.toml.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clang.cindex import Cursor, CursorKind, Index, SourceLocation, TokenKind, TranslationUnit, TypeKind

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = ROOT / "sdk_sim" / "include"
REFERENCE = ROOT / "docs" / "c-api.md"
NOTES = ROOT / "docs" / "c-api.toml"
RECORD = ROOT / "sdk_sim" / "abi.toml"

# libclang comes without its headers; these are all that ours include.
STUBS = [
    ("/stub/stddef.h", "typedef __SIZE_TYPE__ size_t;\n"),
    ("/stub/stdint.h", "".join(f"typedef __{s}INT{b}_TYPE__ {s.lower()}int{b}_t;\n" for s in ("", "U") for b in (8, 16, 32, 64))),
]


@dataclass
class Item:
    """A function, enum or struct of a header with what its comments say."""

    kind: str
    name: str
    text: str  # the declaration
    comment: str
    values: list[tuple[str, str, str]] = field(default_factory=list)  # enum: name, value, comment; struct: member, type, comment
    layout: dict[str, int] = field(default_factory=dict)


@dataclass
class Section:
    title: str
    comment: str
    items: list[Item] = field(default_factory=list)


def parse(path: Path, language: str) -> TranslationUnit:
    arguments = ["-x", language, "-std=c11" if language == "c" else "-std=c++20", "-nostdinc", "-I/stub", f"-I{INCLUDE}"]
    unit = Index.create().parse(str(path), arguments, STUBS)
    if errors := [str(d) for d in unit.diagnostics if d.severity >= 3]:
        raise SystemExit(f"{path} cannot be parsed:\n" + "\n".join(errors))
    return unit


def plain(comment: str) -> str:
    """The words of a comment, without its marks; only its paragraphs are kept apart."""
    text = re.sub(r"\n[ \t]*\*", "\n", comment.strip().removeprefix("/*").removesuffix("*/"))
    return "\n\n".join(re.sub(r"\s+", " ", paragraph).strip() for paragraph in re.split(r"\n\s*\n", text))


class Comments:
    """The comments of a file, found by the line of what they explain."""

    def __init__(self, unit: TranslationUnit, path: Path) -> None:
        source = path.read_text()
        self.lines = source.splitlines()
        end = SourceLocation.from_position(unit, unit.get_file(str(path)), len(self.lines), 1)
        start = SourceLocation.from_position(unit, unit.get_file(str(path)), 1, 1)
        tokens = unit.get_tokens(extent=type(unit.cursor.extent).from_locations(start, end))
        self.all = [t for t in tokens if t.kind == TokenKind.COMMENT]

    def alone(self, token: Any) -> bool:
        return not self.lines[token.extent.start.line - 1][: token.extent.start.column - 1].strip()

    def of(self, cursor: Cursor) -> str:
        """What stands above a declaration, and behind it."""
        found = []
        for token in self.all:
            if self.alone(token) and token.extent.end.line == cursor.extent.start.line - 1 and "----" not in token.spelling:
                found.append(plain(token.spelling))
            if not self.alone(token) and token.extent.start.line == cursor.extent.end.line:
                found.append(plain(token.spelling))
            elif found and self.alone(token) and token.extent.start.line == cursor.extent.end.line + 1 and token.extent.start.column > 20:
                found.append(plain(token.spelling))  # a comment behind, continued on a line of its own
        return " ".join(found)

    def headings(self) -> list[tuple[int, Section]]:
        found = []
        for token in self.all:
            if "---- " in token.spelling:
                title, _, rest = plain(token.spelling).removeprefix("---- ").partition(". ")
                found.append((token.extent.start.line, Section(title.strip(". "), rest)))
        return found


def declaration(cursor: Cursor) -> str:
    """A function's signature as C is written, without attributes."""
    arguments = []
    for argument in cursor.get_arguments():
        kind = argument.type.spelling
        if "(*)" in kind:
            arguments.append(kind.replace("(*)", f"(*{argument.spelling})"))
        else:
            arguments.append(f"{kind.replace(' *', '* ').strip()} {argument.spelling}".replace("* *", "**").replace("*  ", "* "))
    result = cursor.result_type.spelling.replace(" *", "*")
    return f"{result} {cursor.spelling}({', '.join(arguments) or 'void'});"


def item(cursor: Cursor, comments: Comments) -> Item | None:
    if cursor.kind == CursorKind.FUNCTION_DECL:
        return Item("function", cursor.spelling, declaration(cursor), comments.of(cursor))
    if cursor.kind == CursorKind.ENUM_DECL:
        values = [(c.spelling, str(c.enum_value), comments.of(c)) for c in cursor.get_children()]
        return Item("enum", cursor.spelling, "", comments.of(cursor), values, {name: int(value) for name, value, _ in values})
    if cursor.kind in (CursorKind.STRUCT_DECL, CursorKind.UNION_DECL):
        members = list(cursor.type.get_fields())
        if not members:  # an opaque handle
            return None
        kind = "union" if cursor.kind == CursorKind.UNION_DECL else "struct"
        layout = {"size": cursor.type.get_size()} | {m.spelling: cursor.type.get_offset(m.spelling) // 8 for m in members}
        return Item(
            kind, cursor.spelling, "", comments.of(cursor), [(m.spelling, m.type.spelling, comments.of(m)) for m in members], layout
        )
    if cursor.kind == CursorKind.TYPEDEF_DECL and cursor.underlying_typedef_type.kind == TypeKind.POINTER:
        return Item("handle", cursor.spelling, f"typedef {cursor.underlying_typedef_type.spelling} {cursor.spelling};", comments.of(cursor))
    return None


def read(name: str, language: str = "c") -> list[Section]:
    """The sections of a header of ours, in order."""
    path = INCLUDE / name
    unit = parse(path, language)
    comments = Comments(unit, path)
    intro = Section("", plain(comments.all[0].spelling))
    marks = comments.headings()
    sections = [intro, *(section for _, section in marks)]

    def visit(parent: Cursor) -> None:
        for cursor in parent.get_children():
            if cursor.location.file is None or Path(cursor.location.file.name) != path:
                continue
            if cursor.kind in (CursorKind.LINKAGE_SPEC, CursorKind.UNEXPOSED_DECL):
                visit(cursor)
                continue
            if (found := item(cursor, comments)) is not None:
                before = [section for line, section in marks if line <= cursor.location.line]
                (before[-1] if before else intro).items.append(found)

    visit(unit.cursor)
    return sections


def record(headers: list[list[Section]]) -> dict[str, Any]:
    """What must not change by accident: signatures, values of enums, sizes and offsets."""
    items = [i for sections in headers for section in sections for i in section.items]
    return {
        "functions": {i.name: i.text for i in items if i.kind == "function"},
        "enums": {i.name: i.layout for i in items if i.kind == "enum"},
        "structs": {i.name: i.layout for i in items if i.kind in ("struct", "union")},
    }


def record_text(data: dict[str, Any]) -> str:
    lines = ["# The C ABI, as recorded by `python docs/c_api.py --record`: a change of this file is a change of the ABI, made on purpose."]
    lines += ["# structs: bytes; a member's number is its offset.", "", "[functions]"]
    lines += [f'{name} = "{text}"' for name, text in data["functions"].items()]
    for group in ("enums", "structs"):
        for name, values in data[group].items():
            lines += ["", f"[{group}.{name}]", *(f"{key} = {value}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


# ---- the reference


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def write_item(i: Item, statuses: dict[str, list[str]]) -> list[str]:
    if i.kind == "function":
        lines = [f"### `{i.name}`", "", "```c", i.text, "```", ""]
        if i.comment:
            lines += [sentence(i.comment), ""]
        if i.text.startswith("rigiStatus "):
            lines += ["Statuses: " + (", ".join(f"`{s}`" for s in statuses[i.name]) or "only those of every call") + ".", ""]
        return lines
    if i.kind == "handle":
        return [f"`{i.name}`: {i.comment or 'an opaque handle'}.", ""]
    head = ["value", "", "meaning"] if i.kind == "enum" else ["member", "type", "meaning"]
    lines = [f"### `{i.kind} {i.name}`" if i.name else "### constants", ""]
    if i.comment:
        lines += [sentence(i.comment), ""]
    lines += [f"| {' | '.join(head)} |", "|---|---|---|"]
    lines += [f"| `{name}` | {cell(value) if i.kind == 'enum' else f'`{value}`'} | {cell(comment)} |" for name, value, comment in i.values]
    return [*lines, ""]


def sentence(text: str) -> str:
    text = text[0].upper() + text[1:] if not text.startswith("rigi") else text
    return text if text.endswith((".", ":")) else text + "."


def write_sections(sections: list[Section], statuses: dict[str, list[str]]) -> list[str]:
    lines = []
    for section in sections:
        if section.title:
            lines += [f"## {section.title[0].upper() + section.title[1:]}", ""]
            if section.comment:
                lines += [sentence(section.comment), ""]
        for i in section.items:
            lines += write_item(i, statuses)
    return lines


def reference(api: list[Section], isa: list[Section], notes: dict[str, Any]) -> str:
    statuses = notes["functions"]
    known = {i.name for section in api for i in section.items if i.text.startswith("rigiStatus ")}
    if wrong := set(statuses) ^ known:
        raise SystemExit(f"{NOTES.name} and rigi.h disagree about: {', '.join(sorted(wrong))}")
    values = next(i for section in api for i in section.items if i.name == "rigiStatus")
    taxonomy = notes["statuses"]
    if wrong := set(taxonomy) ^ {name.removeprefix("RIGI_ERROR_").removeprefix("RIGI_") for name, _, _ in values.values}:
        raise SystemExit(f"{NOTES.name} and rigiStatus disagree about: {', '.join(sorted(wrong))}")
    lines = ["# The C API", "", "Made from `rigi.h` and `docs/c-api.toml` by `python docs/c_api.py`; do not edit it by hand.", ""]
    titles = [s.title for s in api if s.title]
    links = [f"[{t[0].upper() + t[1:]}](#{re.sub(r'[^a-z0-9 -]', '', t.lower()).replace(' ', '-')})" for t in titles]
    lines += ["[Errors](#errors) · [ABI policy](#abi-policy) · " + " · ".join(links) + " · [Instructions](#instructions)", ""]
    lines += [sentence(api[0].comment.removeprefix("rigi.h: ")), "", notes["intro"].strip(), ""]
    lines += [
        "## Errors",
        "",
        notes["errors"].strip(),
        "",
        "| status | | meaning | whose doing | sticky | what to do |",
        "|---|---|---|---|---|---|",
    ]
    for name, value, comment in values.values:
        entry = taxonomy[name.removeprefix("RIGI_ERROR_").removeprefix("RIGI_")]
        meaning = comment or entry["meaning"]
        lines.append(
            f"| `{name}` | {value} | {cell(meaning)} | {entry['who']} | {'yes' if entry.get('sticky') else 'no'} | {entry['do']} |"
        )
    lines += ["", "## ABI policy", "", notes["abi"].strip(), ""]
    first = Section("basics", "", [i for i in api[0].items if i.name != "rigiStatus"])
    lines += write_sections([first, *api[1:]], statuses)
    lines += ["## Instructions", "", isa[0].comment, ""]
    lines += write_sections([Section("", "", isa[0].items)], {})
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write sdk_sim/abi.toml too")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not current")
    args = parser.parse_args()
    api, isa, kernel = read("rigi.h"), read("rigi_isa.h"), read("rigi_kernel.h", "c++")
    outputs = {REFERENCE: reference(api, isa, tomllib.loads(NOTES.read_text())), RECORD: record_text(record([api, isa, kernel]))}
    for path, text in outputs.items():
        old = path.read_text() if path.exists() else ""
        if old == text:
            continue
        if args.check or (path == RECORD and not args.record):
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), text.splitlines(True), str(path), "from the headers"))
            remedy = "python docs/c_api.py --record, if the ABI is meant to change" if path == RECORD else "python docs/c_api.py"
            sys.exit(f"{path.relative_to(ROOT)} is not current: {remedy}")
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
