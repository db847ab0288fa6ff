"""Is a map a symmetry of a function or a network, or of an environment?

check_symmetry   a function under an action -> SymmetryCheck
SymmetryCheck    its error per element, beside two wrong groups
ElementErrors    errors of each element, with their spread over the inputs

check_environment   a Gymnasium environment under maps of states and actions -> EnvironmentCheck
EnvironmentCheck    eps_R, eps_P and the bound on Q, beside wrong maps
reflection          the maps of four known environments
break_symmetry      an environment whose reflection is broken by a known amount
check_mdp           a decision process with tables under permutations -> TabularCheck
TabularCheck        eps_R, eps_P, the gap of Q and its bound
q_bound             what eps_R and eps_P allow for Q
"""

from orbitlens.symmetry.check._errors import ElementErrors
from orbitlens.symmetry.check._symmetry_record import SymmetryCheck
from orbitlens.symmetry.check.check_environment import EnvironmentCheck, check_environment
from orbitlens.symmetry.check.check_symmetry import check_symmetry
from orbitlens.symmetry.check.environments import break_symmetry, reflection
from orbitlens.symmetry.check.tabular import TabularCheck, check_mdp, q_bound

__all__ = [
    "ElementErrors",
    "EnvironmentCheck",
    "SymmetryCheck",
    "TabularCheck",
    "break_symmetry",
    "check_environment",
    "check_mdp",
    "check_symmetry",
    "q_bound",
    "reflection",
]
