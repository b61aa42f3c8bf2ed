"""Which country a number belongs to, by its first digits, and the small number that stands for a country in the queue.

What it is: calling codes of E.164, and below them the digits that tell countries apart which share one (+1, +7, +44 …).
The longest prefix decides. What it is not: a judge of numbers (gateway.contacts), nor a map of networks (routing).

A country's code is its two letters as two digits of base 32, A = 1: GB = 7 * 32 + 2 = 226. 0 = not known.
"""

import functools
from collections.abc import Mapping

UNKNOWN = 0
# So many first digits tell a number's country.
HEAD_DIGITS = 8
_LETTERS = 32

# Country:prefixes. Taken from the metadata of phonenumbers 9.0 (2026-11) by asking it for numbers of every range;
# tests/test_countries.py holds the two together. Satellite and other calling codes of no country stand nowhere.
_TABLE = """
    AC:247 AD:376 AE:971 AF:93 AG:1268 AI:1264 AL:355 AM:374 AO:244 AR:54 AS:1684 AT:43 AU:61 AW:297 AX:35818 AZ:994
    BA:387 BB:1246 BD:880 BE:32 BF:226 BG:359 BH:973 BI:257 BJ:229 BL:59059027,59059029,59059051,59059052,59059087
    BM:1441 BN:673 BO:591 BQ:5993,5994,5997 BR:55 BS:1242 BT:975 BW:267 BY:375 BZ:501 CA:1204,1226,1236,1249,1250
    CA:1257,1263,1273,1289,1306,1343,1354,1365,1367,1368,1382,1403,1416,1418,1428,1431,1437,1438,1450,1468,1474
    CA:1506,1514,1519,1548,1579,1581,1584,1587,1600,1604,1613,1622,1633,1639,1647,1672,1683,1705,1709,1742,1753
    CA:1778,1780,1782,1807,1819,1825,1867,1873,1879,1902,1905,1942 CC:6189162 CD:243 CF:236 CG:242 CH:41 CI:225
    CK:682 CL:56 CM:237 CN:86 CO:57 CR:506 CU:53 CV:238 CW:599 CX:6189164 CY:357 CZ:420 DE:49 DJ:253 DK:45 DM:1767
    DO:1809,1829,1849 DZ:213 EC:593 EE:372 EG:20 ER:291 ES:34 ET:251 FI:358 FJ:679 FK:500 FM:691 FO:298 FR:33 GA:241
    GB:44 GD:1473 GE:995 GF:594 GG:441481,447781,447839,4479111,4479117 GH:233 GI:350 GL:299 GM:220 GN:224 GP:590
    GQ:240 GR:30 GT:502 GU:1671 GW:245 GY:592 HK:852 HN:504 HR:385 HT:509 HU:36 ID:62 IE:353 IL:972 IM:441624
    IM:447524,447624 IN:91 IO:246 IQ:964 IR:98 IS:354 IT:39 JE:441534,447509,4477003,4477007,4477008,447797,447829
    JE:447937 JM:1658,1876 JO:962 JP:81 KE:254 KG:996 KH:855 KI:686 KM:269 KN:1869 KP:850 KR:82 KW:965 KY:1345 KZ:77
    LA:856 LB:961 LC:1758 LI:423 LK:94 LR:231 LS:266 LT:370 LU:352 LV:371 LY:218 MA:212 MC:377 MD:373 ME:382
    MF:59059000,59059007,59059009,59059013,59059030,59059043,59059050,59059056,59059058,5905907 MG:261 MH:692 MK:389
    ML:223 MM:95 MN:976 MO:853 MP:1670 MQ:596 MR:222 MS:1664 MT:356 MU:230 MV:960 MW:265 MX:52 MY:60 MZ:258 NA:264
    NC:687 NE:227 NF:672 NG:234 NI:505 NL:31 NO:47 NP:977 NR:674 NU:683 NZ:64 OM:968 PA:507 PE:51 PF:689 PG:675
    PH:63 PK:92 PL:48 PM:508 PR:1787,1939 PS:970 PT:351 PW:680 PY:595 QA:974 RE:262 RO:40 RS:381 RU:7 RW:250 SA:966
    SB:677 SC:248 SD:249 SE:46 SG:65 SH:290 SI:386 SJ:4779 SK:421 SL:232 SM:378 SN:221 SO:252 SR:597 SS:211 ST:239
    SV:503 SX:1721 SY:963 SZ:268 TA:2908 TC:1649 TD:235 TG:228 TH:66 TJ:992 TK:690 TL:670 TM:993 TN:216 TO:676 TR:90
    TT:1868 TV:688 TW:886 TZ:255 UA:380 UG:256 US:1 UY:598 UZ:998 VA:3906698 VC:1784 VE:58 VG:1284 VI:1340 VN:84
    VU:678 WF:681 WS:685 XK:383 YE:967 YT:2622689,262269,26263,2627093,2629398,2629478,2629769 ZA:27 ZM:260 ZW:263
"""


@functools.cache
def country_by_prefix() -> dict[str, str]:
    """Map every prefix to the two letters of its country."""
    found: dict[str, str] = {}
    for word in _TABLE.split():
        country, _, prefixes = word.partition(":")
        found.update(dict.fromkeys(prefixes.split(","), country))
    return found


@functools.cache
def countries() -> frozenset[str]:
    """Every country that has numbers."""
    return frozenset(country_by_prefix().values())


@functools.cache
def _longest() -> int:
    return max(map(len, country_by_prefix()))


def country_of(number: int) -> str:
    """Name the country of an E.164 number by its two letters; empty when no prefix of it is known."""
    digits, table = str(number), country_by_prefix()
    for length in range(min(_longest(), len(digits)), 0, -1):
        if country := table.get(digits[:length]):
            return country
    return ""


def heads_by_country(heads: Mapping[str, int]) -> dict[str, int]:
    """Sum numbers up by country, given how many begin with which HEAD_DIGITS digits; "" = of no known country."""
    found: dict[str, int] = {}
    for head, people in heads.items():
        country = country_of(int(head))
        found[country] = found.get(country, 0) + people
    return found


def code_of(country: str) -> int:
    """Return the code of a country given by two letters; 0 for an empty text.

    raises  ValueError on anything else
    """
    if not country:
        return UNKNOWN
    if len(country) != 2 or not country.isascii() or not country.isalpha() or not country.isupper():
        raise ValueError(f"country: expected two capital letters, found {country!r}")
    return (ord(country[0]) - 64) * _LETTERS + ord(country[1]) - 64


def letters_of(code: int) -> str:
    """Return the two letters of a code; empty for 0."""
    if code == UNKNOWN:
        return ""
    first, second = divmod(code, _LETTERS)
    if not (1 <= first <= 26 and 1 <= second <= 26):
        raise ValueError(f"country: expected a code of two letters, found {code}")
    return chr(first + 64) + chr(second + 64)
