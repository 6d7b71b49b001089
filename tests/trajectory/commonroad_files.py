"""Small CommonRoad scenarios of both versions, made here."""


def state(tag: str, step: int, x: float, y: float, orientation: str | None = "0.5") -> str:
    turned = f"<orientation><exact>{orientation}</exact></orientation>" if orientation else ""
    return (
        f"<{tag}><position><point><x>{x}</x><y>{y}</y></point></position>{turned}"
        f"<time><exact>{step}</exact></time></{tag}>"
    )


def bound(tag: str, *points: tuple[float, float]) -> str:
    inner = "".join(f"<point><x>{x}</x><y>{y}</y><z>1</z></point>" for x, y in points)
    return f"<{tag}>{inner}</{tag}>"


def lanelet(id: int, low: float, more: str = "") -> str:
    """Return a lanelet from x = 0 to x = 20, whose right bound lies at y = low, 3 m wide."""
    left = bound("leftBound", (0, low + 3), (20, low + 3))
    return f'<lanelet id="{id}">{left}{bound("rightBound", (0, low), (20, low))}{more}</lanelet>'


LANES = (
    lanelet(1, 0, '<successor ref="9"/><adjacentLeft ref="2" drivingDir="same"/><stopLine/>')
    + lanelet(2, 3, '<adjacentLeft ref="3" drivingDir="opposite"/>')
    + lanelet(3, 6)
    + lanelet(4, 9, "<laneletType>sidewalk</laneletType>")
    + lanelet(5, 12, "<laneletType>crosswalk</laneletType>")
)
MOVING = (
    "<type>{type}</type>" + state("initialState", 0, 1, 1) + "<trajectory>{states}</trajectory>"
)


def states(*xs: float, orientation: str | None = "0.5") -> str:
    return "".join(state("state", i + 1, x, 1, orientation) for i, x in enumerate(xs))


def new(inner: str, lanes: str = LANES) -> str:
    """Return a file of version 2020a."""
    head = '<commonRoad timeStepSize="0.2" commonRoadVersion="2020a" benchmarkID="ZAM_Small-1">'
    return f"{head}{lanes}{inner}</commonRoad>"


def moving(id: int, *xs: float, type: str = "car") -> str:
    inner = MOVING.format(type=type, states=states(*xs))
    return f'<dynamicObstacle id="{id}">{inner}</dynamicObstacle>'
