from .launchers import Devices as Devices
from .launchers import InProcess as InProcess
from .launchers import Joblib as Joblib
from .launchers import Launcher as Launcher
from .launchers import Submitit as Submitit
from .launchers import Torchrun as Torchrun
from .study_runner import run_study as run_study
