"""Write the help of a command from its composed configuration and the folders of `conf/`.

Hydra's own help is slow: for each group that it lists it copies every registered schema, including
those of installed plugins.
"""

from argparse import ArgumentParser
from collections.abc import Container, Iterable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def choices(folders: Iterable[Path], group: str, groups: Container[str] = ()) -> list[str]:
    """List the choices of a configuration group; nested ones, such as `lab/cnn`, come last.

    Args:
        folders: Configuration folders.
        group: Name of the group: a subfolder of them.
        groups: All groups; the choices of one in a folder of this group are not listed.
    """
    roots = [folder / group for folder in folders]
    files = {path.relative_to(root) for root in roots for path in root.rglob("*.yaml")}
    names = [
        path.with_suffix("").as_posix()
        for path in files
        if path.parent == Path() or f"{group}/{path.parent.as_posix()}" not in groups
    ]
    return sorted(names, key=lambda name: (name.count("/"), name))


def help_text(description: str, config: DictConfig, parser: ArgumentParser) -> str:
    """Describe a command: its groups and their choices, its options, its settings.

    Args:
        description: What the command does.
        config: Its composed configuration, with Hydra's own.
        parser: Parser of its options.
    """
    runtime, command = config.hydra.runtime, config.hydra.job.name
    folders = [Path(source.path) for source in runtime.config_sources if source.schema == "file"]
    chosen = {key: runtime.choices[key] for key in sorted(map(str, runtime.choices))}
    groups = [
        f"{group}: {', '.join(choices(folders, group, chosen))}" + (f" (now {now})" if now else "")
        for group, now in chosen.items()
        if not group.startswith("hydra/")
    ]
    options = [
        f"{', '.join(action.option_strings):<24} {str(action.help).splitlines()[0].rstrip(':')}"
        for action in parser._actions
        if action.option_strings
    ]
    settings = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    sections = {
        f"python -m mnist_vision.{command} [GROUP=CHOICE ...] [KEY=VALUE ...] [OPTION ...]": [],
        "Groups and their choices:": groups,
        "Options:": options,
        "Settings and their values:": OmegaConf.to_yaml(settings).splitlines(),
    }
    lines = [description]
    for title, content in sections.items():
        lines += ["", title, *(f"  {line}" for line in content)]
    return "\n".join(lines) + "\n"
