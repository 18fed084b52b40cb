"""Currencies and the one place where an amount is rounded.

Minor digits follow ISO 4217 (list one): USD 2, JPY 0, KWD 3. Rounding is half up, away from zero.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

from services.kernel.errors import InvalidInput

_TWO_DIGITS = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
    "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD "
    "KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO "
    "NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL "
    "THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)
_NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"

_MINOR_DIGITS: dict[str, int] = {
    **dict.fromkeys(_TWO_DIGITS.split(), 2),
    **dict.fromkeys(_NO_DIGITS.split(), 0),
    **dict.fromkeys(_THREE_DIGITS.split(), 3),
}
_HALF_UP = Context(prec=200, rounding=ROUND_HALF_UP, traps=[InvalidOperation])


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency by its ISO 4217 code, with the number of digits of its minor unit."""

    code: str
    minor_digits: int


def currency(code: str, field: str = "currency") -> Currency:
    """The currency of an ISO 4217 code; raises InvalidInput for any other text."""
    if code not in _MINOR_DIGITS:
        raise InvalidInput(
            f'{field} is "{code[:20]}"; use an ISO 4217 code such as "USD"', field=field, reason="UNKNOWN_CURRENCY"
        )
    return Currency(code, _MINOR_DIGITS[code])


def round_amount(amount: Decimal, to: Currency) -> Decimal:
    """`amount` rounded half up (away from zero) to the currency's minor unit."""
    return amount.quantize(Decimal(1).scaleb(-to.minor_digits), context=_HALF_UP)


def amount_text(amount: Decimal, of: Currency) -> str:
    """The text that API, documents and pages all show: always the currency's minor digits."""
    return format(round_amount(amount, of), "f")
