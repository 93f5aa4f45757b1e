"""Packages that write films."""

from importlib.util import find_spec

from metarl_run.errors import ConfigError

HINT = "pip install 'imageio[ffmpeg]', or film=gif"


def require_writer(suffix: str, where: str = "film") -> None:
    """Raise ConfigError if no installed package writes films of this format.

    Args:
        suffix: gif or mp4.
        where: the key, for the message.
    """
    if suffix == "gif" or (find_spec("imageio") and (find_spec("imageio_ffmpeg") or find_spec("av"))):
        return
    raise ConfigError(where, f"must be gif here: {suffix} needs imageio and ffmpeg, which are not installed", HINT)
