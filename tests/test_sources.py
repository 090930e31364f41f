"""Code of the course is shown behind a toggle, and as plain text where there is none."""

import pytest

from segcourse.models.unet import UNet
from segcourse.sources import show_source, show_toggle


def test_a_terminal_gets_plain_text(capsys):
    show_source(UNet.forward)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Source of UNet.forward"
    assert lines[2].startswith("def forward(self")


def test_a_notebook_gets_a_closed_toggle_with_the_code_escaped(monkeypatch):
    shown = []
    monkeypatch.setattr("segcourse.sources.get_ipython", lambda: object())
    monkeypatch.setattr("segcourse.sources.display", lambda page: shown.append(page.data))
    show_toggle("A <b>", "x < y", "done & dusted")
    assert shown == [
        '<details class="solution"><summary>A &lt;b&gt;</summary>'
        "<pre><code>x &lt; y</code></pre><p>done &amp; dusted</p></details>"
    ]


def test_what_has_no_source_is_refused():
    with pytest.raises(TypeError, match=r"<built-in function len> has no source .* written in it"):
        show_source(len)
