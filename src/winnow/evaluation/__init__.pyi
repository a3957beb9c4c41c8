from .fill_mask import fill_masks as fill_masks
from .held_out_scoring import add_pseudo_log_likelihoods as add_pseudo_log_likelihoods
from .held_out_scoring import compute_slice_metrics as compute_slice_metrics
from .held_out_scoring import score_rows as score_rows
from .probes.lexicon import Lexicon as Lexicon
from .probes.lexicon import read_lexicon as read_lexicon
from .probes.probe import Probe as Probe
from .probes.probe_scores import ProbeScores as ProbeScores
from .probes.prompts import Prompt as Prompt
from .probes.prompts import PromptFile as PromptFile
from .probes.user_metric import PromptMetric as PromptMetric
from .probes.user_metric import PromptPrediction as PromptPrediction
from .pseudo_likelihood import pseudo_log_likelihoods as pseudo_log_likelihoods
from .sentiment import Sentiment as Sentiment
from .sentiment import SentimentClassifier as SentimentClassifier
from .sentiment import Vader as Vader
from .torch_metrics import (
    CalibrationError as CalibrationError,
)
from .torch_metrics import (
    MaskedLoss as MaskedLoss,
)
from .torch_metrics import (
    MeanReciprocalRank as MeanReciprocalRank,
)
from .torch_metrics import (
    Perplexity as Perplexity,
)
from .torch_metrics import (
    PseudoPerplexity as PseudoPerplexity,
)
from .torch_metrics import (
    TopK as TopK,
)
