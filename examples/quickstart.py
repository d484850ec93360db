"""Route a conversation with the shipped model: no key, no network, no GPU."""

from datetime import UTC, datetime

from memory_routing import Router

router = Router.load()

decision = router.classify(
    """USER: Our brand voice is professional but approachable. Think Harvard Business Review meets Slack.
ASSISTANT: So authoritative content with a conversational tone?
USER: Exactly. We never use jargon without explaining it first. And keep your answers to me under five bullets."""
)

print(decision)
for label in decision.labels:
    print(f"  {label.category.name}: {label.score:.2f}, said in turns {label.evidence}")
print("whose:", decision.scope, "| how long:", decision.horizon)
print(decision.expires_at(datetime(2026, 1, 1, tzinfo=UTC)))

for small in router.classify_batch(
    ["Can you check if the Q3 deck is ready?", "I approve all budgets up to 20k myself."]
):
    print(small, "| store:", small.store)
