"""Films in formats that nothing here writes are refused before a run begins."""

import pytest

from metarl_run.errors import ConfigError
from metarl_run.system import video
from metarl_run.system.video import require_writer


@pytest.mark.parametrize(
    ("suffix", "installed", "right"),
    [
        ("gif", (), True),
        ("mp4", (), False),
        ("mp4", ("imageio",), False),
        ("mp4", ("imageio", "imageio_ffmpeg"), True),
        ("mp4", ("imageio", "av"), True),
        ("mp4", ("imageio_ffmpeg",), False),
    ],
)
def test_mp4_needs_a_package_and_an_encoder(suffix, installed, right, monkeypatch):
    monkeypatch.setattr(video, "find_spec", lambda name: name in installed or None)
    if right:
        require_writer(suffix)
        return
    with pytest.raises(ConfigError, match="film: must be gif here: mp4 needs imageio and ffmpeg") as caught:
        require_writer(suffix)
    assert "pip install 'imageio[ffmpeg]'" in caught.value.hint
