"""What a number without a currency may be instead of a price: a measure, a count, an age, a size."""

from __future__ import annotations

from services.query_encoder.domain.phrases import phrase_set

# Units of measure and things that shops count; each also as a plural with "s".
_COUNTED = (
    "foot yd yard mile mi mil meter metre acre hectare oz ounce lb pound kg gr gram ton tonne liter litre gal gallon"
    " qt quart pt pint cup bit byte watt volt amp ampere decibel ohm joule cal kcal calorie lumen nit candela kelvin"
    " megapixel pixel knot degree pack packet pk pkg pc piece set pair roll sheet bag box bottle can case year yr"
    " month week wk day hour hr minute min second sec person player user adult kid child passenger guest star point pt"
    " vote review rating port device channel outlet socket button key pin hole door drawer shelf tier step stage speed"
    " level layer thread karat carat page word song track disc blade bulb led burner fret string seat bay slot lane"
    " mode preset program function core zone gang panel light lamp cycle load wash time stitch lap wheel gear cylinder"
    " cent round shot dot line strand slice serving compartment cartridge cable monitor display"
)
_MEASURES = (
    "in inch inches ft feet cm mm m km nm um sq square cu cubic fl kgs g mg ml l cl dl cc tbsp tsp gb tb mb kb gib tib"
    " mbps gbps kbps w kw kwh wh mw va kva v kv mv ah ma mah hp bhp hz khz mhz ghz db dba ω kohm j kj lm lux cd k mp"
    " px dpi ppi lpi fps rpm bpm psi kpa bar pa mbar btu btus cfm gpm gph gpf lph mph kph kmh kmph ° celsius"
    " fahrenheit percent % x × ct count dozen bundle yo ms people men man women woman children boxes shelves ch way"
    " ply gauge awg ga grit tpi denier tog gsm kt cri spf washes core's seater teeth tooth fold stitches axis axes"
    " horsepower ¢ pence penny th st nd rd iso rms tvl ppm ipm ppb wire caliber calibre",
    "\" ' ″ ′ # / *",
    "英寸 寸 尺 英尺 厘米 毫米 分米 公分 千米 公里 里 米 平方 平方米 平 平米 克 千克 毫克 公斤 斤 两 吨 磅 盎司 升"
    " 毫升 加仑 瓦 千瓦 伏 伏特 安 毫安 毫安时 度 摄氏度 欧姆 赫兹 赫 兆 兆赫 分贝 流明 勒克斯 尼特 像素 帧 转 马力 匹"
    " 岁 月 个 天 日 年 周 星期 小时 分钟 分 秒 时 点 人 位 名 户 家 件 只 台 条 双 张 本 页 片 包 袋 瓶 盒 箱 粒 颗"
    " 套 口 孔 路 层 格 档 级 码 号 楼 键 芯 股 门 扇 支 根 枚 把 顶 辆 艘 架 部 款 种 类 次 遍 倍 步 代 枝 朵 盏 杯"
    " 桶 罐 卷 块装 串 排 对 组 项 首 集 季 期 米高 星 刀片 蚊香 蚊帐 元件 元素 毛 角 折 成 加 减 乘 除 口算 % ℃ 设备"
    " 端口 接口 通道 页面 字 字数 针 目 丝 线 束 立方",
)
UNITS = phrase_set(*_MEASURES, *(form for word in _COUNTED.split() for form in (word, f"{word}s")))
# "4k" without a currency is a resolution.
RESOLUTIONS = frozenset({4_000, 8_000})
# The number behind these words is a size, an age or another measure.
ATTRIBUTES = phrase_set(
    "age ages aged size sizes width height length depth diameter thickness weight power voltage capacity resolution"
    " rating rated score temperature temp pressure seats holds fits supports impedance frequency wattage brightness"
    " battery ram memory storage speed speeds distance range version level load span clearance zoom refresh_rate year"
    " years since number no model part type gen generation chapter season episode page pages vol volume population"
    " count dpi rpm spf cri iso bpm hz mah lumens watts volts amps inches star stars grade rank ranked channel"
    " channels",
    "尺寸 尺码 年龄 身高 体重 长度 宽度 高度 重量 功率 电压 容量 分辨率 评分 温度 频率 阻抗 电量 续航 内存 速度 等级"
    " 星级",
)
CHILDREN = phrase_set(
    "kid kids child children toddler toddlers baby babies infant infants boy boys girl girls teen teens",
    "儿童 小孩 孩子 宝宝 婴儿",
)
GROWN_UP = 18
ADULTS = phrase_set(
    "adult adults women womens woman men mens man people person persons senior seniors anyone everyone someone those"
    " elderly ladies grandma grandpa mom dad dogs cats",
    "老人 成人 女性 男性",
)
# Their pounds are no money.
WEIGHED = phrase_set(
    "dumbbell dumbbells kettlebell kettlebells barbell barbells weight weights weigh weighs weighing weighted heavy lb"
    " lbs capacity load luggage suitcase suitcases dog dogs puppy cat cats pet pets rice flour sugar sand gravel mulch"
    " soil fertilizer concrete cement hold holds holding support supports anvil sandbag propane meat"
)
# The text goes on with something that a number before these words does not count.
NO_COUNT = phrase_set(
    "for with without and or but please pls from that which each as by near if not no thanks because when while"
    " at i to so per both also max . , ; ! ? ) ] :",
    "的 价 吧 吗 呢 啊 了 就 那 ， 。",
)
# An amount before, or behind, these words is no price of a product.
NO_PRICE_AFTER = phrase_set(
    "off discount rebate cashback cash_back coupon voucher deposit", "优惠 折扣 折 券 代金券 红包 减 押金 补贴 返现"
)
NO_PRICE_BEFORE = phrase_set(
    "shipping delivery postage fee fees discount deposit save saving savings rebate coupon off tax refund order orders"
    " loan balance salary withdraw transfer",
    "运费 邮费 满 手续费 借 优惠 额度 限额 余额 花呗 借呗 订单",
)
