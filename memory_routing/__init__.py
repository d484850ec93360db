"""Decide what an AI assistant should remember: conversation in, memory categories out."""

from memory_routing.comparison import Comparison, compare
from memory_routing.conversation import Conversation, ConversationLike, Turn
from memory_routing.dataset import Dataset
from memory_routing.decision import Decision, ScoredLabel, Usage
from memory_routing.errors import (
    BadLine,
    ConversationError,
    DatasetError,
    GenerationError,
    HubError,
    MemoryRoutingError,
    MissingExtraError,
    ModelError,
    RewardError,
    RouterError,
    TaxonomyError,
    TeacherError,
    ThresholdsError,
    TrainingError,
)
from memory_routing.evaluation import evaluate
from memory_routing.example import Annotation, Example, Scenario
from memory_routing.labels import LabelSet, Malformed
from memory_routing.marketing import MARKETING
from memory_routing.renderer import Renderer
from memory_routing.report import Report
from memory_routing.reward import Reward, RewardFn, RoutingReward
from memory_routing.reward_lint import RewardLint, lint_reward
from memory_routing.router import Router
from memory_routing.scenarios import read_scenarios
from memory_routing.taxonomy import Category, Horizon, Taxonomy
from memory_routing.teacher import Brief, TeacherGenerator
from memory_routing.trainer import Checkpoint, SamplerWeights, Trainer, TrainingState

__all__ = [
    "MARKETING",
    "Annotation",
    "BadLine",
    "Brief",
    "Category",
    "Checkpoint",
    "Comparison",
    "Conversation",
    "ConversationError",
    "ConversationLike",
    "Dataset",
    "DatasetError",
    "Decision",
    "Example",
    "GenerationError",
    "Horizon",
    "HubError",
    "LabelSet",
    "Malformed",
    "MemoryRoutingError",
    "MissingExtraError",
    "ModelError",
    "Renderer",
    "Report",
    "Reward",
    "RewardError",
    "RewardFn",
    "RewardLint",
    "Router",
    "RouterError",
    "RoutingReward",
    "SamplerWeights",
    "Scenario",
    "ScoredLabel",
    "Taxonomy",
    "TaxonomyError",
    "TeacherError",
    "TeacherGenerator",
    "ThresholdsError",
    "Trainer",
    "TrainingError",
    "TrainingState",
    "Turn",
    "Usage",
    "compare",
    "evaluate",
    "lint_reward",
    "read_scenarios",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        # Read when asked for: the metadata machinery is slow to import.
        from importlib.metadata import version

        return version("memory-routing")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
