from dataclasses import replace

import numpy as np
import pytest

from tvtasks.channels import choose, other_direction
from tvtasks.errors import RecipeError, UnusableImageError
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Median, Recipe

IMAGE = np.eye(4)


def image(channel, quantity, direction="forward", technique="STM", **more):
    return Micrograph(
        IMAGE, channel=channel, quantity=quantity, direction=direction, technique=technique, **more
    )


def both(channel, quantity, **more):
    return [image(channel, quantity, direction, **more) for direction in ("forward", "backward")]


def names(images):
    return [(image.channel, image.direction) for image in images]


def recipe(**selection):
    return Recipe(median=Median(), **selection)


STM = [*both("Z", "height"), *both("Current", "current"), *both("LI_X", "lock_in")]
AFM = [
    *both("Z", "height", technique="AFM"),
    *both("Current", "current", technique="AFM"),
    *both("Frequency_Shift", "frequency_shift", technique="AFM"),
]


def held(images):
    """Return the images of a scan at constant height."""
    return [replace(one, data=np.full((4, 4), -6e-9)) if one.quantity == "height" else one for one in images]


class TestUnattended:
    @pytest.mark.parametrize(
        ("images", "expected"),
        [
            (STM, "Z"),
            (held(STM), "Current"),
            (AFM, "Z"),
            (held(AFM), "Frequency_Shift"),
        ],
        ids=["STM", "STM at one height", "AFM", "AFM at one height"],
    )
    def test_one_image_of_a_scan_is_restored_and_the_rest_are_named(self, images, expected):
        chosen, (note,) = choose(images, recipe())
        assert names(chosen) == [(expected, "forward")]
        assert f"Restored 1 of 6 images in the file: {expected} forward. Left out: " in note
        assert "Current backward" in note
        assert "direction" in note

    @pytest.mark.parametrize("technique", ["SEM", "STEM", None])
    def test_all_signals_of_an_electron_microscope_are_taken(self, technique):
        images = [image(name, None, None, technique) for name in ("HAADF", "DF4", "DF2", "BF")]
        assert choose(images, recipe()) == (images, ())

    def test_of_a_file_without_technique_that_has_heights_the_height_is_taken(self):
        images = [replace(one, technique=None) for one in STM]
        assert names(choose(images, recipe())[0]) == [("Z", "forward")]

    def test_of_several_heights_the_first_is_taken(self):
        images = [image("[P1]_Z", "height"), image("[P2]_Z", "height", frame=1)]
        assert names(choose(images, recipe())[0]) == [("[P1]_Z", "forward")]

    def test_all_frames_of_a_channel_are_taken(self):
        images = [image("Z", "height", frame=number) for number in range(3)]
        assert choose(images, recipe()) == (images, ())

    def test_backward_is_taken_where_there_is_no_forward(self):
        images = [image("Z", "height", "backward"), image("Current", "current", "backward")]
        assert names(choose(images, recipe())[0]) == [("Z", "backward")]

    def test_lines_that_were_not_scanned_do_not_make_a_height_constant(self):
        data = IMAGE.copy()
        data[2:] = np.nan
        images = [replace(one, data=data) if one.quantity == "height" else one for one in STM]
        assert names(choose(images, recipe())[0]) == [("Z", "forward")]

    def test_where_nothing_known_was_recorded_all_is_taken_forward(self):
        images = [*both("Input 1", "voltage"), *both("Input 2", "voltage")]
        assert names(choose(images, recipe())[0]) == [("Input 1", "forward"), ("Input 2", "forward")]

    def test_a_single_image_is_taken_without_a_note(self):
        assert choose(STM[:1], recipe()) == (STM[:1], ())


class TestOtherDirection:
    def test_is_found_whatever_the_recipe_selects(self):
        chosen, _ = choose(STM, recipe())
        back = other_direction(chosen[0], STM)
        assert back is STM[1]
        assert other_direction(back, STM) is STM[0]

    @pytest.mark.parametrize(
        "other",
        [
            image("Current", "current", "backward"),
            image("Z", "height", "backward", frame=1),
            image("Z", "height", "backward", pixel_size=(1e-9, 1e-9)),
            replace(image("Z", "height", "backward"), data=np.eye(4)[:3]),
            image("Z", "height", None),
            image("Z", "height"),
        ],
        ids=["channel", "frame", "pixel size", "shape", "no direction", "the same direction"],
    )
    def test_what_differs_is_another_image(self, other):
        forward = image("Z", "height")
        assert other_direction(forward, [forward, other]) is None
        assert other_direction(other, [forward, other]) is None

    def test_of_two_neither_is_taken(self):
        images = [image("Z", "height"), *[image("Z", "height", "backward") for _ in range(2)]]
        assert other_direction(images[0], images) is None


class TestNamesWithDirections:
    CREATEC = (
        image("Topography", "height"),
        image("Current", "current"),
        image("Topography (2)", "height", "backward"),
    )
    IGOR = (image("HeightTrace", "height"), image("HeightRetrace", "height", "backward"))

    @pytest.mark.parametrize("channel", [None, "height", "Topography"])
    def test_the_way_back_is_chosen_though_its_name_differs(self, channel):
        chosen, _ = choose(self.CREATEC, recipe(channel=channel, direction="backward"))
        assert names(chosen) == [("Topography (2)", "backward")]

    def test_both_directions_are_chosen(self):
        assert len(choose(self.IGOR, recipe(direction="both"))[0]) == 2
        assert len(choose(self.IGOR, recipe(channel="Height"))[0]) == 1
        assert len(choose(self.IGOR, recipe(channel="HeightRetrace", direction="both"))[0]) == 1


class TestByTheRecipe:
    @pytest.mark.parametrize(
        ("selection", "expected"),
        [
            ({"channel": "current"}, [("Current", "forward")]),
            ({"channel": "height"}, [("Z", "forward")]),
            ({"channel": "Li*"}, [("LI_X", "forward")]),
            ({"channel": ("Z", "Current")}, [("Z", "forward"), ("Current", "forward")]),
            ({"direction": "backward"}, [("Z", "backward")]),
            ({"channel": "Z", "direction": "both"}, [("Z", "forward"), ("Z", "backward")]),
            ({"channel": "*", "direction": "both"}, names(STM)),
        ],
    )
    def test_name_quantity_glob_and_direction_select(self, selection, expected):
        chosen, notes = choose(STM, recipe(**selection))
        assert names(chosen) == expected
        assert len(notes) == (len(expected) < len(STM))

    def test_a_name_with_brackets_is_itself(self):
        images = [image("[P1]_Z", "height"), image("[P2]_Z", "height", frame=1)]
        assert names(choose(images, recipe(channel="[p2]_z"))[0]) == [("[P2]_Z", "forward")]

    def test_no_such_channel_names_those_there_are(self):
        with pytest.raises(
            UnusableImageError, match=r"has no channel Phase, .*Z forward, Z backward, Current"
        ):
            choose(STM, recipe(channel="Phase"))

    def test_no_such_direction_names_those_there_are(self):
        with pytest.raises(UnusableImageError, match=r"has no backward scan, .*It has Z forward"):
            choose(STM[:1], recipe(direction="backward"))

    def test_the_recipe_for_the_technique_decides(self):
        chooses = Recipe(by_technique={"STM": {"channel": "Current", "median": {}}})
        assert names(choose(STM, chooses)[0]) == [("Current", "forward")]
        with pytest.raises(RecipeError, match="has no entry"):
            choose(AFM, chooses)


class TestManyImages:
    STACK = tuple(image("", None, None, None, frame=number) for number in range(100))

    def test_more_than_64_are_refused_unless_asked_for(self):
        with pytest.raises(UnusableImageError, match=r"would give 100 images.*--frames"):
            choose(self.STACK, recipe())
        assert len(choose(self.STACK[:64], recipe())[0]) == 64

    @pytest.mark.parametrize(
        ("frames", "expected"),
        [("all", range(100)), ("0-69", range(70)), ("3, 5-6,99", (3, 5, 6, 99)), (7, (7,)), ([1, 4], (1, 4))],
    )
    def test_those_that_the_recipe_names(self, frames, expected):
        chosen, _ = choose(self.STACK, recipe(frames=frames))
        assert [one.frame for one in chosen] == list(expected)

    def test_no_such_frame_says_which_there_are(self):
        with pytest.raises(UnusableImageError, match=r"has no frame 200, .*0 to 99"):
            choose(self.STACK, recipe(frames="200"))

    @pytest.mark.parametrize("frames", ["", "some", "1-", "-3", "0..9", True])
    def test_what_are_no_frames_is_refused(self, frames):
        with pytest.raises(ValueError, match="frames"):
            recipe(frames=frames)

    def test_they_identify_the_work_on_a_file_and_not_that_on_an_image(self):
        assert recipe().digest == recipe(frames="0-9").digest
        assert recipe().file_digest != recipe(frames="0-9").file_digest
