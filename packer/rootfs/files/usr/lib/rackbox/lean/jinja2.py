"""Stands before Jinja for cloud-init's own services alone, which can do without where no template asks for it.

To load the real one takes a fifth of cloud-init's start. Edit packer/rootfs/files/ in the rackbox project.
"""

import os

# Whatever cloud-init starts is to find the real ones.
os.environ.pop("PYTHONPATH", None)


class TemplateSyntaxError(Exception):
    """The one name that cloud-init takes for granted."""
