from .analysis import Comparison as Comparison
from .analysis import analyse as analyse
from .collected_study import Study as Study
from .collection import collect as collect
from .fill_tables import fills_by_prompt as fills_by_prompt
from .metric_scores import Metric as Metric
from .metric_scores import scores as scores
from .power_analysis import (
    Components as Components,
)
from .power_analysis import (
    components as components,
)
from .power_analysis import (
    power as power,
)
from .power_analysis import (
    seeds_needed as seeds_needed,
)
from .power_analysis import (
    smallest_difference as smallest_difference,
)
from .resampling import bootstrap_interval as bootstrap_interval
from .resampling import permutation_p as permutation_p
from .statistics import Contrast as Contrast
from .statistics import Summary as Summary
from .statistics import contrast as contrast
from .statistics import holm as holm
from .statistics import summarise as summarise
