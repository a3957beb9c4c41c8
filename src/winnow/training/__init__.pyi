from .batch import Batch as Batch
from .batching import HeldOutBatches as HeldOutBatches
from .batching import Share as Share
from .batching import TrainingBatches as TrainingBatches
from .datamodule import MaskedLanguageDataModule as MaskedLanguageDataModule
from .forward.masked_logits import masked_lm_sums as masked_lm_sums
from .forward.masked_logits import masked_logits as masked_logits
from .loss_metrics import MaskedLoss as MaskedLoss
from .loss_metrics import Perplexity as Perplexity
from .masking import (
    ChosenWordMasking as ChosenWordMasking,
)
from .masking import (
    Masking as Masking,
)
from .masking import (
    SpanMasking as SpanMasking,
)
from .masking import (
    WholeWordMasking as WholeWordMasking,
)
from .models import Model as Model
from .models import Scratch as Scratch
from .module import MaskedLanguageModule as MaskedLanguageModule
from .pretrained_hub import Pretrained as Pretrained
from .tokens import TokenRows as TokenRows
from .tokens import to_blocks as to_blocks
from .tokens import tokenize as tokenize
from .vocabulary import Vocabulary as Vocabulary
from .vocabulary import tokenizer_fingerprint as tokenizer_fingerprint
