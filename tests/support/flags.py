"""Main's flags for one command, without parsing them into the flags of this process."""

import copy

from absl import flags
from ml_collections import config_flags

import main


def flags_of_main(words):
    """Main's flags, not yet parsed, for a command of these words."""
    own = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", lock_config=True, flag_values=own, sys_argv=["main.py", *words])
    for flag in flags.FLAGS.flags_by_module_dict()[main.__name__]:
        if flag.name != "config":
            own[flag.name] = copy.deepcopy(flag)
    return own
