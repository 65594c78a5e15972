"""The command line that the longer runs share: `python -m week08_compress_models.bench.NAME [SEED [WAY]]`."""

from collections.abc import Callable
from enum import Enum
from typing import Annotated

import typer

from week08_compress_models import language_model as lm


def run(main: Callable[[list[int], list[str]], None], ways: tuple[str, ...]) -> None:
    """Call `main(seeds, ways)` as the command line says: one seed or all of them, one way or all."""
    choice = Enum("Way", [(one, one) for one in ways])

    def command(
        seed: Annotated[int | None, typer.Argument(help="one of the seeds; all without it")] = None,
        way: Annotated[choice | None, typer.Argument(help="all without it")] = None,
    ) -> None:
        """Make the record anew, or a part of it."""
        if seed is not None and seed not in lm.SEEDS:
            raise typer.BadParameter(f"seed {seed}: there are {', '.join(map(str, lm.SEEDS))}")
        main([*lm.SEEDS] if seed is None else [seed], [*ways] if way is None else [way.value])

    typer.run(command)
