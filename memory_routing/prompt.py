"""The one prompt: what every renderer, teacher and baseline tells a language model."""

from __future__ import annotations

from memory_routing.conversation import Conversation
from memory_routing.taxonomy import Taxonomy

__all__ = ["system_prompt", "user_prompt"]


def system_prompt(taxonomy: Taxonomy) -> str:
    """The task, the categories with their descriptions, and the form of the answer."""
    categories = "\n".join(f"- {category.name}: {category.description}" for category in taxonomy)
    return (
        "You decide what an assistant should remember of a conversation. Name the memory categories for which "
        "the user states something that will still matter when the conversation is over.\n\n"
        f"Categories:\n{categories}\n"
        "- none: transactional, vague, hypothetical, about third parties, or nothing asserted\n\n"
        "Answer with category names separated by commas, or with none alone."
    )


def user_prompt(conversation: Conversation) -> str:
    """The conversation as a transcript, and the question."""
    return f"Which memory categories apply to this conversation?\n\n{conversation.to_transcript()}"
