"""What a model costs: the numbers that its training outcomes decided."""

from oncoweave.train.filling import FittedFilled
from oncoweave.train.fold import Fitted
from oncoweave.train.heads import Head, LabelHeads, SingleHead
from oncoweave.train.late_learner import FittedLate
from oncoweave.train.linear_learner import FittedLinear, FittedSite
from oncoweave.train.network_learner import FittedNetwork
from oncoweave.train.unread import FittedNothing


def count_parameters(fitted: Fitted) -> int:
    """Count a model's coefficients, or the weights of its networks, frozen ones included.

    What only describes the inputs is left out: imputation, scaling, the projection of an early fusion. A model of several
    networks counts each of them; a late fusion counts the models that it combines, and not the few numbers that combine them.
    """
    if isinstance(fitted, FittedNetwork):
        return sum(value.size for member in fitted.members for value in member.values())
    if isinstance(fitted, FittedLinear | FittedSite):
        return _coefficients(fitted.head)
    if isinstance(fitted, FittedLate):
        return sum(count_parameters(base) for base in fitted.bases)
    if isinstance(fitted, FittedFilled):
        return count_parameters(fitted.fitted)
    if isinstance(fitted, FittedNothing):
        return 0
    msg = f"parameters of a {type(fitted).__name__} cannot be counted; say in train.cost how"
    raise TypeError(msg)


def _coefficients(head: Head) -> int:
    if isinstance(head, SingleHead):
        return int(head.coefficients.size)
    if isinstance(head, LabelHeads):
        return sum(int(model.coefficients.size) for model in head.models if model is not None)
    msg = f"coefficients of a {type(head).__name__} cannot be counted; say in train.cost how"
    raise TypeError(msg)
