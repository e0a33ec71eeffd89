"""Stands before requests for cloud-init's own services alone: a lab's seed is on a disk or in a directory, and nothing
is asked of any URL. Where something is, the real one is loaded. Always loading it takes a fifth of cloud-init's start.

Edit packer/rootfs/files/ in the rackbox project.
"""

import functools
import importlib
import pathlib
import sys

HERE = str(pathlib.Path(__file__).parent)


class Response:
    """The one name that cloud-init takes for granted, in an annotation."""


@functools.cache
def _load():
    sys.modules.pop(__name__, None)
    sys.path[:] = [place for place in sys.path if place != HERE]
    return importlib.import_module(__name__)


class _Exceptions:
    def __getattr__(self, name):
        return getattr(_load().exceptions, name)


exceptions = _Exceptions()


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_load(), name)
