"""Route a conversation with the shipped model: no key, no network, no GPU."""

from datetime import UTC, datetime

from memory_routing import Router

decision = Router.load().classify(
    """USER: Our brand voice is professional but approachable. Think Harvard Business Review meets Slack.
ASSISTANT: So authoritative content with a conversational tone?
USER: Exactly. We want 500 trial sign-ups by the end of June. And for me personally: always bullets, no paragraphs."""
)
print(decision, "| for:", decision.scope, "| how long:", decision.horizon.value if decision.horizon else None)
for label in decision.labels:
    print(f"{label.category.name}: {label.score:.2f}, said in turns {label.evidence}")
print(decision.expires_at(datetime(2026, 1, 1, tzinfo=UTC)))
