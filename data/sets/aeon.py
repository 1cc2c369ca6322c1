"""Series among the files of the package aeon, an optional extra.

The package is not imported, which would take numba and an older NumPy: `pip install --no-deps aeon==1.6.0` is
enough. Version 1.7 will have fewer of these series.
"""

import importlib.util
import pathlib

from core.tables import choose

FORM, VERSION = "aeon:", "1.6.0"
# By the name that `data.dataset = "series:aeon:NAME"` has: the folder and file of the package.
FOLDERS = {
    "airline": "Airline",  # passengers, monthly, 1949 to 1960
    "lynx": "Lynx",  # trapped lynxes, yearly, 1821 to 1934
    "pbs": "PBS_dataset",  # prescriptions in Australia, monthly, 1991 to 2008
    "shampoo": "ShampooSales",  # sales, monthly, three years
    "solar": "solar",  # power of Great Britain, every half hour, six days
    "uschange": "Uschange",  # five changes of the economy of the US, quarterly, 1970 to 2016
}


def path_of(name: str) -> pathlib.Path:
    """The file of a series. Errors: ValueError for an unknown name, and without its file."""
    folder = choose("data.dataset", f"series:{FORM}{name}", {f"series:{FORM}{k}": v for k, v in FOLDERS.items()})
    found = importlib.util.find_spec("aeon")
    for package in (found and found.submodule_search_locations) or ():
        if (path := pathlib.Path(package) / "datasets" / "data" / folder / f"{folder}.csv").is_file():
            return path
    raise ValueError(
        f"series:{FORM}{name} needs the files of the package aeon {VERSION}, which are not installed: "
        f"`pip install --no-deps aeon=={VERSION}`."
    )
