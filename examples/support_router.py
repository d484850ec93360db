"""From a taxonomy file to a router of one's own: plan, generate with Cohere, train on this machine, classify.

COHERE_API_KEY=… python support_router.py OUT
"""

import sys
from pathlib import Path

from memory_routing import Router, Taxonomy
from memory_routing.cohere import CohereTeacher
from memory_routing.generation import GenerationConfig, Pools, forecast, generate_dataset, plan
from memory_routing.local import LocalConfig, LocalTrainer

HERE = Path(__file__).parent


def main(out: Path, conversations: int = 1500, epochs: int = 4, budget: float = 40.0) -> None:
    support = Taxonomy.load(HERE / "support_taxonomy.toml")
    pools = Pools.load(HERE / "support_pools.toml", support)
    briefs = plan(support, conversations, turns=range(1, 4), pools=pools)
    print(briefs.balance)

    teacher = CohereTeacher(support)
    config = GenerationConfig(concurrency=16)
    print(forecast(teacher, briefs, config))
    made = generate_dataset(teacher, briefs, out / "data", config, budget=budget)
    print(made.report.to_text())

    train, validation = made.dataset.split(0.15, stratum=lambda example: str(example.labels))
    checkpoint = LocalTrainer(LocalConfig(epochs=epochs, members=1)).fit(train, validation, out / "run")

    router = Router.load(checkpoint.weights)
    print(router.classify("The export has been failing with error 502 since Monday, and we tried two browsers."))
    print(router.classify("What does the Pro plan cost per seat?"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(value) for value in sys.argv[2:]))
