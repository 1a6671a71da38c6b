"""Scenes are drawn as their captions say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from emoji import Drawings
from scenes import BACKGROUNDS, PLACES, Scene, Scenes, reach

RED, BLUE = (220, 30, 40), (40, 60, 220)


def disc(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A disc of one colour, [128, 128, 4]."""
    rows, columns = np.mgrid[:128, :128]
    inside = (rows - 64) ** 2 + (columns - 64) ** 2 < 50**2
    return np.where(inside[..., None], np.array([*colour, 255]), 0).astype(np.uint8)


@pytest.fixture
def scenes() -> Scenes:
    drawn = [[disc(RED)] * 3, [np.roll(disc(BLUE), 5, axis=0)] * 3]
    return Scenes(Drawings(("apple", "blue ball"), (4, 6), np.array(drawn)))


def test_captions_say_count_colour_and_background(scenes: Scenes) -> None:
    assert scenes.caption(Scene(0, 0), alias=True) == "an apple"
    assert scenes.caption(Scene(0, 1, 3, "red", "blue")) == "three red apples on a blue background"
    assert scenes.caption(Scene(0, 0, background="orange")) == "an apple on an orange background"


def test_what_goes_by_a_plural_has_no_article() -> None:
    names = ("grapes", "octopus", "hot dog", "soccer ball")
    made = Scenes(Drawings(names, (4, 3, 4, 6), np.array([[disc(RED)] * 3] * 4)))
    assert [made.caption(Scene(i, 0)) for i in (0, 1)] == ["grapes", "an octopus"]
    assert made.caption(Scene(3, 0), alias=True) == "a football"


def test_captions_are_english() -> None:
    names = ("mouse", "unicorn", "strawberry", "scissors")
    made = Scenes(Drawings(names, (4,) * 4, np.array([[disc(RED)] * 3] * 4)))
    assert [made.caption(Scene(i, 0)) for i in (1, 2)] == ["a unicorn", "a strawberry"]
    counted = [made.caption(Scene(i, 0, 2, "green")) for i in range(4)]
    assert counted == ["two green mice", "two green unicorns", "two green strawberries", "two green scissors"]


def test_only_what_has_a_colour_of_its_own_and_no_name_for_it_is_recoloured(scenes: Scenes) -> None:
    assert scenes.colourable == [0]


def test_a_recoloured_drawing_has_the_colour_that_its_caption_names(scenes: Scenes) -> None:
    picture = scenes.picture(Scene(0, 0, colour="blue"), np.random.default_rng(0), still=True)
    red, _green, blue = picture[64, 64].astype(int)
    assert blue > 180 and red < 80
    assert (picture[0, 0] == 255).all()


def test_a_drawing_has_no_specks_along_its_edge_at_any_size(scenes: Scenes) -> None:
    random = np.random.default_rng(0)
    ground, drawn = np.array(BACKGROUNDS["black"]), np.array(RED)
    for _ in range(5):
        picture = scenes.picture(Scene(0, 0, background="black"), random)
        assert (picture <= np.maximum(ground, drawn) + 60).all()  # the filter overshoots a little


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_drawings_are_counted_and_the_background_is_coloured(scenes: Scenes, count: int) -> None:
    picture = scenes.picture(Scene(0, 0, count, background="green"), np.random.default_rng(1))
    background = np.array(BACKGROUNDS["green"])
    assert (picture[0, 0] == background).all()
    assert _pieces(np.abs(picture.astype(int) - background).sum(axis=2) > 150) == count


def test_a_drawing_lies_on_whole_latents_and_is_seen_whole() -> None:
    drawing = np.zeros((128, 128, 4), np.uint8)
    drawing[16:120, 8:104] = (*RED, 255)
    made, random = Scenes(Drawings(("tile",), (6,), np.array([[drawing] * 3]))), np.random.default_rng(4)
    corners = {_corner(made.picture(Scene(0, 0), random)) for _ in range(100)}
    assert corners == {(y, x) for y in (0, 8, 16, 24) for x in (0, 8, 16, 24)}


def test_what_fills_the_picture_is_not_moved_and_what_is_narrow_no_farther_than_two_latents() -> None:
    drawing = np.zeros((128, 128, 4), np.uint8)
    drawing[:, 60:70] = 255
    assert reach(drawing) == ((2, 2), (0, 0))


def test_several_drawings_lie_beside_each_other_in_the_picture() -> None:
    for ways in PLACES.values():
        for places in ways:
            cells = [(p.top + y, p.left + x) for p in places for y in range(8) for x in range(8)]
            assert len(set(cells)) == 64 * len(places)
            assert all(0 <= at < 16 for cell in cells for at in cell)


def test_held_out_combinations_are_never_drawn_and_there_are_some(scenes: Scenes) -> None:
    random = np.random.default_rng(2)
    drawn = [scenes.draw(random, plain=0.2) for _ in range(300)]
    assert not any(scenes.held_out(scene) for scene in drawn)
    assert any(scenes.held_out(scenes.any(random, plain=0.2)) for _ in range(300))
    assert all(scene.style == 0 for scene in drawn)


def test_every_word_of_a_caption_is_among_all_words(scenes: Scenes) -> None:
    random = np.random.default_rng(3)
    words = {word for caption in scenes.all_words() for word in caption.split()}
    for _ in range(100):
        caption = scenes.caption(scenes.any(random, 0.2), alias=bool(random.integers(2)))
        assert words.issuperset(caption.split())


def _pieces(mask: NDArray[np.bool_]) -> int:
    """How many pieces a mask is of, counted by flooding each."""
    left, count = {(int(y), int(x)) for y, x in np.argwhere(mask)}, 0
    while left:
        flood, count = [left.pop()], count + 1
        while flood:
            y, x = flood.pop()
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            flood.extend(near)
    return count


def test_a_drawing_of_no_colour_of_its_own_is_not_recoloured_in_silence(scenes: Scenes) -> None:
    with pytest.raises(ValueError, match="'blue ball' has no colour of its own"):
        scenes.picture(Scene(1, 0, colour="red"), np.random.default_rng(0))


def _corner(picture: NDArray[np.uint8]) -> tuple[int, int]:
    """The first row and column that are not white."""
    seen = (picture < 250).any(axis=2)
    return int(seen.any(axis=-1).argmax()), int(seen.any(axis=0).argmax())
