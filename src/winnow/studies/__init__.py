"""Many runs as one study: its plan, its declaration, where its cells run, and what became of them.

A study survives its cells: one that fails stops nothing, and one that has finished is never trained again.
"""

from winnow.studies.launchers import Devices, InProcess, Joblib, Launcher, Submitit, Torchrun
from winnow.studies.study import run_study

__all__ = ["Devices", "InProcess", "Joblib", "Launcher", "Submitit", "Torchrun", "run_study"]
