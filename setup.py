"""Puts ``configs/`` into the package of a wheel; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """An editable install finds them beside the package, as a checkout does (`mdistiller_icc.shipped`)."""

    def run(self):
        """Build the package, then copy the files."""
        super().run()
        if not self.editable_mode:
            shutil.copytree("configs", Path(self.build_lib) / "mdistiller_icc/configs", dirs_exist_ok=True)


setup(cmdclass={"build_py": WithConfigs})
