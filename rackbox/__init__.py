"""rackbox: a highly available bare-metal data centre on one computer, broken on purpose and measured."""

__version__ = "0.2.0"
