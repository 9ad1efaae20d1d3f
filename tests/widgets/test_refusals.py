"""What the window says of an error: nothing that can only be typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.formats import detected
from napari_medlab.widgets.refusals import in_words

if TYPE_CHECKING:
    from pathlib import Path


def test_a_hint_for_the_command_line_is_left_out() -> None:
    error = InputRefusedError("It has a name in it.", code="text", hint="Leave it out with --no-images.")
    assert in_words(error) == "It has a name in it."


def test_a_hint_that_holds_everywhere_stays() -> None:
    error = InputRefusedError("Its -- disk is full.", code="disk", hint="Make room -- 2 GB at least.")
    assert in_words(error) == "Its -- disk is full.\nMake room -- 2 GB at least."


def test_other_errors_say_what_they_are() -> None:
    assert in_words(ValueError("odd")) == "odd"
    assert in_words(TimeoutError()) == "TimeoutError"


def test_a_file_of_no_known_format_is_refused_in_two_lines(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    with pytest.raises(InputRefusedError) as caught:
        detected(wrong)
    assert in_words(caught.value).splitlines()[1:] == ["Choose its format where the file hides what it is."]
