"""``{% generation %}…{% endgeneration %}`` marks the model's own text for training; here it has no effect.

It is a separate module because subclassing a jinja2 extension needs jinja2, which is optional.
"""

from __future__ import annotations

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser


class GenerationBlock(Extension):
    """Lets templates with generation blocks compile; the blocks render as their contents."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Replace the block by its contents."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
