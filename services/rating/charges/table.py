"""Every charge model on one screen."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from services.rating.charges.flat import flat
from services.rating.charges.graduated import graduated
from services.rating.charges.package import package
from services.rating.charges.per_unit import per_unit
from services.rating.charges.step import Step
from services.rating.charges.volume import volume
from services.rating.plan import Charge, ChargeModel

CHARGES: Mapping[ChargeModel, Callable[[Charge, Decimal], tuple[Step, ...]]] = {
    ChargeModel.FLAT: flat,
    ChargeModel.PER_UNIT: per_unit,
    ChargeModel.GRADUATED: graduated,
    ChargeModel.VOLUME: volume,
    ChargeModel.PACKAGE: package,
}
