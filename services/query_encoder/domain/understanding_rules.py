"""Rules for intent, sentiment and sizes, in English and Chinese. A rule that applies overrides the network.

A single word such as "return" or 密码 is not evidence ("return air vent", 密码锁). A rule needs a phrase that only a
customer with a question writes, and it does not apply if the phrase is part of a product's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.common.scripts import HAN
from services.query_encoder.domain.concepts import ConceptKind
from services.query_encoder.domain.constraints import ConstraintType
from services.query_encoder.domain.query_reading import QueryReading

FIND, BROWSE, ADVICE, ORDER, CHAT = INTENTS = ("find", "browse", "advice", "order", "chat")
NEUTRAL, POSITIVE, NEGATIVE = SENTIMENTS = ("neutral", "positive", "negative")

_MINE = r"(?:my|the|this|that|an?|our)(?: (?:last|latest|recent|whole|online))?"
_PATTERNS = {
    CHAT: (
        r"^(?:hi|hey|hello|yo|hiya|howdy|good (?:morning|afternoon|evening|night|day)|thanks?|thank you|thx|cheers|bye"
        r"|goodbye|ok|okay|cool|lol|ha(?:ha)+|yes|no|sup)(?: (?:there|all|everyone|again|a lot|so much|you|bye"
        r"|now))*[!.? ]*$",
        r"\bhow are you\b|\bare you (?:a |an )?(?:bot|robot|human|real|ai|person)\b|\bwho are you\b"
        r"|\btell me a (?:joke|story)\b",
        r"^(?:你好|您好|嗨|哈喽|在吗|在不在|有人吗|谢谢|多谢|感谢|早上好|早安|下午好|晚上好|晚安|拜拜|再见|哈+|嗯+|好的?|ok|不客气|辛苦)"
        r"[了啊呀吗您你!！。~ ]*$",
        r"你是谁|你是(?:人|机器人|真人)|讲个?笑话|你叫什么",
    ),
    ORDER: (
        rf"\b(?:where(?:'s| is| are)|track|cancel|change|modify|return|exchange|receive[d]?|check) {_MINE} "
        r"(?:order|parcel|package|purchase|shipment|delivery|item|stuff)s?\b",
        rf"\b(?:status|cancel\w*|progress) (?:of|for) {_MINE} (?:order|refund|delivery|shipment|purchase)\b",
        r"\bmy (?:order|parcel|package|purchase|shipment|delivery|refund|invoice|account|password)\b"
        r"|\border (?:number |no\.? ?|#)#?\d{3,}",
        r"\b(?:get|want|give|need)\b.{0,20}\b(?:refund|money back)\b|\b(?:ask|apply|eligible"
        r"|request)\w*\b.{0,12}\brefund\b",
        r"\b(?:return|refund|shipping|delivery|exchange|privacy|payment|cancellation)s? "
        r"(?:polic(?:y|ies)|fees?|options?|methods?|terms|window)\b"
        r"|\b(?:shipping|delivery) address\b(?! (?:label|stamp|sticker|book)s?)",
        r"\bhow (?:long|much|soon|fast|many days)\b.{0,30}\b(?:ship|shipping|shipped|deliver\w*|refund|warranty)\b",
        r"\bdo you (?:ship|deliver|accept|refund)\b|\bcan i (?:pay|return|exchange|cancel)\b",
        r"\b(?:speak|talk|chat|connect) (?:to|with|me (?:to|with)) .{0,20}\b(?:human|agent|person|someone|support"
        r"|representative|operator)\b",
        r"\bcustomer (?:service|support|care)\b|\b(?:forgot|reset|recover) (?:my |the )?(?:password|pin)\b",
        r"\b(?:promo|coupon|discount|voucher) code\b.{0,20}\b(?:not|doesn't|invalid|expired)\b",
        r"我的?(?:订单|包裹|快递|货|退款)|(?:订单|包裹|快递|物流).{0,6}(?:到哪|哪里|查|多久|几天|状态|没|取消|信息|更新)|取消.{0,3}订单",
        r"退货|退款|退钱|退换|换货|(?:还没|什么时候|何时|多久|几天)(?:能|可以|才)?.{0,2}(?:发货|到货|送到|收到)|没收到",
        r"运费.{0,4}(?:多少|怎么)|邮费|开.{0,4}发票|保修(?:多久|期|几)|人工(?:客服)?$|转人工|找客服|投诉|(?:收货|寄送)地址",
        r"(?:忘|改|找回|重置).{0,3}密码|密码.{0,2}忘|注销.{0,3}(?:账|帐)|(?:支持|可以|能|怎么).{0,6}(?:付款|支付)|优惠券.{0,4}(?:不|没|怎么)",
    ),
    ADVICE: (
        r"\b(?:which|what)\b.{1,60}\b(?:best|better|recommend|suggest|should i|would you|good for|right for)\b"
        r"|\bshould i\b",
        r"\bhow (?:do|to|should|can) (?:i |you )?(?:choose|pick|select|decide|find the right)\b|\bhelp me (?:choose"
        r"|pick|decide)\b",
        r"\bdifferences? between\b|\bworth (?:it|buying|the money)\b|\bcan you (?:recommend|suggest)\b"
        r"|\bany (?:recommendations?|tips|advice)\b",
        r"怎么(?:选|挑)|如何(?:选|挑)|(?:哪个|哪种|哪款|哪一?款|哪个牌子).{0,6}好|(?:有什么|有啥|的)区别|值得(?:买|入手)|送.{0,10}(?:什么|啥)",
        r"配什么|(?:有什么|求|给我|帮我).{0,4}(?:推荐|建议)|帮我(?:选|挑)",
    ),
    BROWSE: (
        r"^(?:new|new in|new arrivals?|best ?-?sellers?|sale|on sale|clearance|deals|trending|popular|what'?s (?:new"
        r"|hot|on sale)"
        r"|(?:today'?s|daily|weekly|special|this week'?s) (?:deals|offers|specials))\b[!.? ]*$",
        r"\bwhat do you (?:sell|have|carry|offer)\b|\bjust (?:looking|browsing)\b|^(?:show|see|browse"
        r"|view)(?: me)?(?: your)? (?:all|everything)\b",
        r"^(?:新品|上新|新款|热销|热卖|爆款|特价|打折|清仓|促销)(?:推荐|专区|商品|榜)?$|随便(?:看看|逛逛)|(?:都)?(?:卖|有)(?:些)?什么$",
    ),
}  # fmt: skip
_COMPILED = {intent: [re.compile(pattern) for pattern in patterns] for intent, patterns in _PATTERNS.items()}
_BETWEEN = "and|for|with|the|men|man|women|woman|mens|womens|kids?|pack|set"
_CHINESE_BETWEEN = "的和用款男女个只双件条色"

_NEGATED = r"(?:not|isn't|wasn't|aren't|never|no longer)"
_FEELINGS = {
    NEGATIVE: (
        rf"\b{_NEGATED} (?:\w+ )?(?:happy|satisfied|pleased|good enough|impressed|acceptable)\b|\b(?:don't"
        rf"|didn't) like\b",
        r"\b(?:terrible|awful|horrible|worst|useless|disappoint\w+|unacceptable|ridiculous|furious|angry|frustrat\w+"
        r"|scam|rip-?off"
        r"|hate|sucks?|rubbish service|disgusting|pathetic)\b|\bnever (?:again|buy\w*|shop\w*|order\w*)\b",
        r"不(?:喜欢|满意|开心)|(?<!好)不好用|太差|很差|差评|失望|气死|再也不|骗(?:人|子)|坑(?:人|爹)|无语|糟糕|烂(?:透|死)|^垃圾[!！。]*$|什么破",
    ),
    POSITIVE: (
        r"\bi(?:'m| am)? (?:really |just |absolutely |so )?(?:love|adore|enjoy|happy|pleased|delighted)\b",
        r"\b(?:is|are|was|were|you're|it's) (?:so |really |absolutely |just )?(?:great|amazing|awesome|excellent"
        r"|fantastic|wonderful|perfect|brilliant)\b",
        r"\b(?:great|excellent|amazing|awesome|fantastic) (?:job|work|service|shop|store|experience|support)\b"
        r"|\bwell done\b",
        r"(?:超|很|太|真|好|非常)(?:级)?(?:喜欢|满意|棒|好看|好用|不错)|太好了|好评|真棒",
    ),
}  # fmt: skip
_FELT = {name: [re.compile(pattern) for pattern in patterns] for name, patterns in _FEELINGS.items()}


def intent_by_rule(reading: QueryReading) -> str:
    """One of INTENTS; empty if no rule applies. The rules read the words as typed, before spelling correction."""
    products = [part.text for part in reading.mentions if part.concepts[0].kind is ConceptKind.PRODUCT]
    for intent, patterns in _COMPILED.items():
        for pattern in patterns:
            match = pattern.search(reading.normal)
            if match and not any(match.group() in product for product in products):
                return intent
    return FIND if _is_plain(reading) else ""


def sentiment_by_rule(normal: str) -> str:
    """POSITIVE or NEGATIVE if the words express it, otherwise empty. A text that expresses both is NEGATIVE."""
    felt = [name for name, patterns in _FELT.items() if any(pattern.search(normal) for pattern in patterns)]
    # NEGATIVE comes first, because "not happy" contains "happy".
    return felt[0] if felt else ""


def head_words(text: str) -> str:
    """The product without its purpose: "mug for coffee" -> "mug"."""
    return _BEFORE.split(text, maxsplit=1)[0].strip()


_BEFORE = re.compile(r"(?<=\w) (?:for|with|without|in|of|that|to|from|on|which|under|over|by)\b")


def sizes(normal: str) -> Iterator[tuple[str, str]]:
    """(words, size) for each number or letter that the text marks as a size: "size 42", 42码, "w32", "xl"."""
    for match in _SIZE.finditer(normal):
        yield match.group(), next(group for group in match.groups() if group)


_SIZE = re.compile(
    r"\bsize:? (\d{1,2}(?:\.5)?|x{0,3}[sml]|small|medium|large)\b|(\d{2}(?:\.5)?) ?[码碼号]|\b(w\d{2}|x{1,3}[sl])\b"
    r"|\b(\d+(?:\.\d+)? ?cm)\b"
)


def _is_plain(reading: QueryReading) -> bool:
    """Whether the query has only names of products, brands, colours and the like, and at least two of them. A single
    name such as "stationery" may mean a range of products.
    """
    named = {constraint.matched_text for constraint in reading.constraints if constraint.value}
    named |= {part.text for part in reading.mentions}
    is_product = any(part.concepts[0].kind is ConceptKind.PRODUCT for part in reading.mentions)
    is_brand = any(constraint.type is ConstraintType.BRAND for constraint in reading.constraints)
    if len(named) < 2 or not (is_product or is_brand) or _RANGE.search(reading.retrieval_text):
        return False
    rest = reading.retrieval_text
    for text in sorted(named, key=len, reverse=True):
        rest = rest.replace(text, " ")
    return not _SAYS_MORE.search(rest)


_RANGE = re.compile(r"\b(?:or|vs|my|is|it|new|gifts?|presents?|range|collection)\b|新|礼物|还是")
# Words beside the names, other than connecting words, and other than numbers with their units.
_SAYS_MORE = re.compile(rf"(?!\b(?:{_BETWEEN})\b)\b[^\W\d_]{{3,}}|[{HAN}](?<![{_CHINESE_BETWEEN}])|[?!]")
