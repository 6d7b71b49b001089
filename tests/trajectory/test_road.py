"""Maps: what they refuse, and what is near."""

from dataclasses import replace

import numpy as np
import pytest

from domains.trajectory.road import RoadMap
from tests.trajectory.crowds import line, road


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RoadMap(lanes=road().lanes * 2), r"one lane for each id, got several for \['a'\]"),
        (lambda: lane(centre=line((0, 0))), r"the centre of lane a needs shape \(n, 2\) .* \(1, 2"),
        (lambda: lane(left=np.zeros((3, 3))), r"the left of lane a .* with n >= 2, got \(3, 3\)"),
        (lambda: lane(right=np.zeros(4)), r"the right of lane a needs shape .*, got \(4,\)"),
        (
            lambda: lane(left=line((0, np.nan), (1, 1))),
            "left of lane a has a coordinate that is no",
        ),
        (lambda: RoadMap(stops=(line((1, 1)),)), r"one of the map's stops needs .* got \(1, 2\)"),
        (lambda: RoadMap(walls=(line((1, np.inf), (1, 1)),)), "map's walls has a coordinate"),
        (lambda: RoadMap(areas=(np.zeros((0, 2)),)), r"one of the map's areas .* got \(0, 2\)"),
        (lambda: RoadMap(crossings=(np.zeros(2),)), r"map's crossings needs .* got \(2,\)"),
        (lambda: road().lane("z"), "the map has no lane 'z'; it has 1: a"),
    ],
)
def test_mistakes_are_one_sentence(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def lane(**parts):
    return RoadMap(lanes=(replace(road().lanes[0], **parts),))


def test_outlines_go_up_the_right_and_back_down_the_left():
    one = road().lane("a")
    expected = line((-25, -1), (0, -1), (20, 7), (20, 11), (0, 3), (-25, 3))
    np.testing.assert_array_equal(one.outline, expected)


def test_areas_tell_where_one_may_drive_or_else_the_lanes():
    whole = road()
    assert whole.drivable() is whole.areas
    bare = replace(whole, areas=())
    np.testing.assert_array_equal(bare.drivable()[0], whole.lanes[0].outline)
    assert RoadMap().drivable() == ()


def test_near_keeps_what_has_a_point_within_reach():
    whole = road()
    here = line((2, -4), (100, 100))
    part = whole.near(here, 2.3)
    assert [len(x) for x in (part.lanes, part.areas, part.crossings, part.stops)] == [0, 0, 1, 0]
    assert part.crossings[0] is whole.crossings[0]
    assert len(whole.near(here, 5.4).lanes) == 1  # its middle point is sqrt(29) away
    assert len(whole.near(here, 5.3).lanes) == 0
    assert whole.near(here, 1000) == whole
