"""Plan, declare, launch and monitor studies, each of which consists of many runs.

A failed cell does not stop a study, and a finished cell is not trained again.
"""

from winnow.studies.launchers import Devices, InProcess, Joblib, Launcher, Submitit, Torchrun
from winnow.studies.study_runner import run_study

__all__ = ["Devices", "InProcess", "Joblib", "Launcher", "Submitit", "Torchrun", "run_study"]
