"""A report as PDF, A4. The fonts are those that come with matplotlib: whatever the figures can write, the text can."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace

from api.reports.content import Block, Facts, Items, Picture, Report, Section, Table, Text

MEDIA_TYPE = "application/pdf"
_MARGIN, _WIDTH, _HEIGHT = 18.0, 174.0, 261.0  # millimetres: of A4, and what is left between the margins
_LINE = 5.0
_MILLIMETRES = 25.4 / 120  # of a figure's pixel: as large as at 120 pixels an inch
_SCALE = 2.0  # 240 dots an inch
_INK, _SOFT, _LINES, _ACCENT = (22, 32, 42), (81, 96, 110), (213, 220, 226), (10, 110, 189)


def render(report: Report) -> bytes:
    pdf = _Document(report)
    pdf.add_page()
    pdf.words(report.title, 20, bold=True)
    pdf.ln(1)
    pdf.words(report.subtitle, 10, colour=_SOFT)
    pdf.ln(3)
    for block in report.summary:
        pdf.block(block)
    for section in report.sections:
        pdf.section(section)
    return bytes(pdf.output())


class _Document(FPDF):
    def __init__(self, report: Report) -> None:
        super().__init__(format="A4")
        self._report = report
        self.set_margins(_MARGIN, 16, _MARGIN)
        self.set_auto_page_break(True, 20)
        self.c_margin = 0
        fonts = _fonts()
        self.add_font("sans", "", fonts / "DejaVuSans.ttf")
        self.add_font("sans", "B", fonts / "DejaVuSans-Bold.ttf")
        self.set_title(report.title)
        self.set_lang("en")
        self.set_producer(f"attractor {report.version}")
        self.set_creation_date(datetime.fromisoformat(report.made))  # the same model gives the same file
        self.set_draw_color(*_LINES)

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font("sans", "", 7.5)
        self.set_text_color(*_SOFT)
        self.cell(_WIDTH / 2, 5, self._report.subtitle)
        self.cell(_WIDTH / 2, 5, f"{self.page_no()} / {{nb}}", align="R")

    def words(self, text: str, size: float = 9, *, bold: bool = False, colour: tuple[int, int, int] = _INK) -> None:
        """A paragraph over the whole width."""
        self.set_font("sans", "B" if bold else "", size)
        self.set_text_color(*colour)
        self.multi_cell(_WIDTH, size * 0.52, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def section(self, section: Section) -> None:
        if self.will_page_break(40):
            self.add_page()
        self.ln(5)
        self.start_section(section.title)
        self.words(section.title, 14, bold=True)
        self.set_draw_color(*_ACCENT)
        self.line(_MARGIN, self.get_y() + 1, _MARGIN + _WIDTH, self.get_y() + 1)
        self.set_draw_color(*_LINES)
        self.ln(4)
        for block in section.blocks:
            self.block(block)

    def block(self, block: Block) -> None:
        match block:
            case Text():
                self.words(block.text, 9.5 if block.strong else 9, bold=block.strong)
            case Facts():
                self._rows(None, block.rows, (1, 3), frozenset(), lines="NONE")
            case Items():
                for i, text in enumerate(block.texts):
                    self.words(f"{i + 1}.  {text}" if block.ordered else f"–  {text}", 8.5)
                    self.ln(0.6)
            case Table():
                self._rows(block.header, block.rows, block.shares, block.numbers, lines="HORIZONTAL_LINES")
                if block.caption:
                    self.words(block.caption, 8, colour=_SOFT)
            case Picture():
                self._picture(block)
        self.ln(2.5)

    def _rows(self, header, rows, shares, numbers, lines: str) -> None:  # type: ignore[no-untyped-def]
        if not rows:
            return
        self.set_font("sans", "", 8)
        self.set_text_color(*_INK)
        alignments = ["RIGHT" if i in numbers else "LEFT" for i in range(len(rows[0]))]
        with self.table(
            width=_WIDTH,
            col_widths=tuple(shares) or None,
            borders_layout=lines,
            line_height=4.1,
            padding=(0.7, 2.4, 0.7, 0),
            text_align=tuple(alignments),
            first_row_as_headings=header is not None,
            headings_style=FontFace(emphasis="BOLD", color=_SOFT),
        ) as table:
            for row in [*([header] if header else []), *rows]:
                made = table.row()
                for i, cell in enumerate(row):
                    soft = header is None and i == 0
                    made.cell(cell, style=FontFace(color=_SOFT) if soft else None)

    def _picture(self, picture: Picture) -> None:
        from figures.drawing import draw  # matplotlib takes a second to import

        wide, high = picture.size
        size = min(_MILLIMETRES, _WIDTH / wide, _HEIGHT / high)
        if self.will_page_break(high * size):
            self.add_page()
        drawn = io.BytesIO(draw(picture.figure, "png", height=picture.height, scale=_SCALE))
        left = _MARGIN + (_WIDTH - wide * size) / 2
        self.image(drawn, x=left, w=wide * size, h=high * size, alt_text=picture.text)


def _fonts() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"
