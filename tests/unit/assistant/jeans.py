"""Facts of a turn about jeans, and sentences about them that are true and false. Both languages."""

from __future__ import annotations

from pathlib import Path

import yaml

from services.assistant.domain.facts import Fact, FactSource
from services.assistant.domain.verification.verifier import lexicons

WORDS = Path(__file__).parents[3] / "services/assistant/words"
LEXICONS = lexicons({path.stem: yaml.safe_load(path.read_text("utf-8")) for path in WORDS.glob("??.yaml")})


def product(id: str, language: str = "", **values: str) -> list[Fact]:
    """`a__b` stands for "a.b"; several values are separated by "|"."""
    return [
        Fact(FactSource.PRODUCT, id, name.replace("__", "."), value, language)
        for name, joined in values.items()
        for value in joined.split("|")
    ]


ENGLISH = [
    *product(
        "p1", title="Levi's 501 Original Jeans", brand="Levi's", category="Jeans",
        price="USD 59.00", list_price="USD 79.00", stock="5", availability="in stock",
        attributes__colour="blue", attributes__material="cotton",
        attributes__fit="straight", variants__colour="black|grey",
        description="Classic jeans with a button fly. Machine washable. Not suitable for tumble dryers.",
    ),
    *product(
        "p2", title="Wrangler Texas Stretch Jeans", brand="Wrangler", category="Jeans", price="USD 39.95",
        stock="0", availability="out of stock", attributes__colour="black",
        attributes__material="98% cotton, 2% elastane",
        attributes__fit="slim", attributes__weight="620 g",
    ),
    *product(
        "p3", title="Dr. Denim Skye Jeans", brand="Dr. Denim", category="Jeans", price="USD 85.50",
        stock="12", availability="in stock", attributes__colour="light blue", attributes__material="organic cotton",
        attributes__waterproof="no",
    ),
]  # fmt: skip
CHINESE = [
    *product(
        "z1", "zh", title="李维斯501直筒牛仔裤", brand="李维斯", category="牛仔裤",
        price="CNY 399.00", list_price="CNY 499.00", stock="5", availability="in stock",
        attributes__颜色="蓝色", attributes__材质="纯棉", variants__颜色="黑色|灰色",
        description="经典五袋款，可机洗。不可烘干。",
    ),
    *product(
        "z2", "zh", title="森马修身弹力牛仔裤", brand="森马", category="牛仔裤", price="CNY 159.00", stock="0",
        availability="out of stock", attributes__颜色="黑色", attributes__材质="棉和氨纶",
    ),
    *product(
        "z3", "zh", title="优衣库宽松牛仔裤", brand="优衣库", category="牛仔裤", price="CNY 249.00", stock="12",
        availability="in stock", attributes__颜色="浅蓝色", attributes__材质="有机棉",
    ),
]  # fmt: skip
POLICY = [
    Fact(FactSource.FAQ, "returns", "question", "Can I return an item?", "en", 3),
    Fact(
        FactSource.FAQ, "returns", "answer",
        "You can return unworn items within 30 days of delivery. Sale items cannot be returned. "
        "We refund the price to the card that you paid with within 5 days.", "en", 3,
    ),
    Fact(
        FactSource.FAQ, "退货", "answer",
        "未穿过的商品可在签收后30天内退货。特价商品不能退货。退款会在5天内退回原支付账户。", "zh", 2,
    ),
]  # fmt: skip

TRUE_ENGLISH = """
Here are some jeans that match your search.
I found three options for you.
The Levi's 501 Original Jeans cost $59.00.
They are in stock.
The Levi's 501 costs $59 and is available in blue.
The Levi's 501 Original Jeans are made of cotton and have a straight fit.
It also comes in black and grey.
It was $79.00 and now costs $59.00.
It is machine washable.
That is $20 less than the list price.
There are only 5 left.
The Wrangler Texas Stretch Jeans are out of stock.
The Wrangler Texas Stretch Jeans are not in stock right now.
The Wrangler Texas Stretch is the cheapest at $39.95.
The Levi's 501 is cheaper than the Dr. Denim Skye Jeans.
The Dr. Denim Skye Jeans are the most expensive option, at $85.50.
The Dr. Denim Skye is made of organic cotton.
The Levi's 501 and the Dr. Denim Skye are both in stock.
The Levi's 501 costs $59.00, while the Dr. Denim Skye costs $85.50.
All of these are under $90.
Prices range from $39.95 to $85.50.
I would recommend the Levi's 501 Original Jeans.
The second option is black.
Its weight is 620 g.
There are 5 pieces of the Levi's 501 Original Jeans in stock.
Levi's makes the Levi's 501 Original Jeans.
The colour of the Levi's 501 is blue.
The Wrangler has 98% cotton.
The third one costs about $85.
Would you like to see more options?
Is there a colour you prefer?
Hello, how can I help you?
Let me know if you have any questions.
I could look for something cheaper than that, if you like?
You can return unworn items within 30 days of delivery.
According to our policy, sale items cannot be returned.
We refund the price to the card you paid with within 5 days.
""".strip().splitlines()

FALSE_ENGLISH = """
The Levi's 501 Original Jeans cost $49.00.
The Levi's 501 costs $39.95.
The Levi's 501 costs 59 euros.
The Wrangler Texas Stretch Jeans are in stock.
The Levi's 501 is out of stock.
The Levi's 501 is not available.
There are 12 pieces of the Levi's 501 left.
The Levi's 501 is made of organic cotton.
The Levi's 501 comes in red.
The Levi's 501 is waterproof.
The Dr. Denim Skye is waterproof.
The Levi's 501 is suitable for tumble dryers.
The Levi's 501 is the cheapest.
The Dr. Denim Skye is cheaper than the Levi's 501.
The Levi's 501 is more expensive than the Dr. Denim Skye Jeans.
The Diesel Sleenker is a great choice.
The Levi's 501 by Diesel costs $59.
The Levi's 501 by Wrangler costs $59.
It ships for free tomorrow.
We deliver within 24 hours.
You get a 20% discount on the Levi's 501.
The Levi's 501 is our best seller.
The Levi's 501 is the most popular model.
It has a lifetime warranty.
You can return everything within 60 days.
You can return unworn items within 90 days of delivery.
Sale items can be returned.
You can return items within 30 days of delivery if you keep the receipt.
We refund the price in cash within 5 days.
All of these are in stock.
All of these are under $50.
Prices range from $10 to $20.
I found seven options for you.
The Levi's 501 is $30 cheaper than the Dr. Denim Skye.
The Levi's 501 is 50% off.
The Wrangler Texas Stretch Jeans weigh 300 g.
The second option is blue.
The third one costs $59.00.
Yes.
It does.
We can do that.
You will get it for less.
I will send you a voucher.
See www.example.com for details.
It is recommended by doctors.
These jeans were made in Italy.
It was $99.00 and now costs $59.00.
The Levi's 501 costs the same as the Dr. Denim Skye.
Nothing is in stock.
I could not find any jeans.
The Levi's 501 is better than the Dr. Denim Skye.
It is on sale until Sunday.
The Levi's 501 is not $59.00.
The Levi's 501 is not blue.
Wrangler makes the Levi's 501 Original Jeans.
The Levi's 501 Original Jeans are from Dr. Denim.
The material of the Levi's 501 is blue.
The colour of the Levi's 501 is cotton.
There are 12 pieces of the Levi's 501 Original Jeans in stock.
""".strip().splitlines()

TRUE_CHINESE = """
为您找到3款牛仔裤。
李维斯501直筒牛仔裤售价399元。
它有货。
李维斯501直筒牛仔裤目前有现货，价格是399元。
它的颜色是蓝色，材质是纯棉。
它还有黑色和灰色可选。
原价499元，现价399元。
还剩5件。
森马修身弹力牛仔裤目前缺货。
森马修身弹力牛仔裤是最便宜的，售价159元。
优衣库宽松牛仔裤比李维斯501直筒牛仔裤便宜。
李维斯501直筒牛仔裤是最贵的一款。
优衣库宽松牛仔裤采用有机棉。
我推荐李维斯501直筒牛仔裤。
第二款是黑色的。
这几款都是牛仔裤。
价格在159元到399元之间。
您想看看其他颜色吗？
您好，请问有什么可以帮您？
未穿过的商品可在签收后30天内退货。
根据我们的政策，特价商品不能退货。
李维斯501直筒牛仔裤可机洗。
""".strip().splitlines()

FALSE_CHINESE = """
李维斯501直筒牛仔裤售价299元。
李维斯501直筒牛仔裤售价159元。
森马修身弹力牛仔裤有货。
李维斯501直筒牛仔裤缺货。
李维斯501直筒牛仔裤没有现货。
李维斯501直筒牛仔裤还剩12件。
李维斯501直筒牛仔裤是有机棉的。
李维斯501直筒牛仔裤是红色的。
李维斯501直筒牛仔裤防水。
李维斯501直筒牛仔裤可烘干。
李维斯501直筒牛仔裤是最便宜的。
李维斯501直筒牛仔裤比优衣库宽松牛仔裤便宜。
我推荐阿玛尼修身牛仔裤。
这款包邮，明天送达。
我们支持七天无理由退货。
这款现在打八折。
它是我们店的爆款。
它是销量第一的牛仔裤。
终身质保。
未穿过的商品可在签收后90天内退货。
特价商品可以退货。
退款会在1天内退回原支付账户。
这几款都有货。
价格都在100元以内。
为您找到8款牛仔裤。
第二款是蓝色的。
是的。
可以的。
我会给您发优惠券。
原价599元，现价399元。
它比较显瘦。
这款由意大利设计师打造。
李维斯501直筒牛仔裤便宜100元。
李维斯501直筒牛仔裤来自森马。
李维斯501直筒牛仔裤不是蓝色。
李维斯501直筒牛仔裤的颜色是纯棉。
""".strip().splitlines()
