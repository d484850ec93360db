"""Print how many packages, and how many megabytes, stand in this environment beside pip and setuptools."""

from __future__ import annotations

from importlib.metadata import distributions

UNCOUNTED = {"pip", "setuptools", "wheel"}


def main() -> None:
    sizes: dict[str, int] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"].lower()
        if name not in UNCOUNTED:
            files = [distribution.locate_file(file) for file in distribution.files or ()]
            sizes[name] = sum(file.stat().st_size for file in files if file.is_file())  # type: ignore[attr-defined]
    print(f"{len(sizes)} packages, {sum(sizes.values()) / 1e6:.0f} MB")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"  {name}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
