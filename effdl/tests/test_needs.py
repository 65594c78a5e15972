import pytest

from effdl.needs import Missing, needs


def test_a_missing_package_is_one_sentence_with_the_remedy():
    needs(6, "json")
    with pytest.raises(Missing, match="needs no_such_package; `make lab WEEK=6`") as caught:
        needs(6, "json", "no_such_package")
    assert caught.value._render_traceback_() == [str(caught.value)]
