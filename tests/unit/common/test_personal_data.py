"""Personal data with a pattern, in both languages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from services.common.personal_data import masked, may_hold_personal_data, personal_data_in
from services.common.personal_data_recognizers import is_company_code, is_resident_id
from services.common.telemetry import hide_personal_data

PERSONAL = [
    ("write to anna.smith@example.com please", "write to [email_address] please"),
    ("call 212-555-0198 or +49 30 901820", "call [phone_number] or [phone_number]"),
    ("my number is (415) 555-2671.", "my number is [phone_number]."),
    ("card 4111 1111 1111 1111", "card [credit_card]"),
    ("my ssn is 536-90-4399", "my ssn is [us_ssn]"),
    ("IBAN DE89370400440532013000", "IBAN [iban_code]"),
    ("from 192.168.1.10", "from [ip_address]"),
    ("device 00:1B:44:11:3A:B7", "device [mac_address]"),
    ("我的手机号是13812345678，谢谢", "我的手机号是[phone_number]，谢谢"),
    ("电话：一三八一二三四五六七八", "电话：[phone_number]"),
    ("座机010-62345678", "座机[phone_number]"),
    ("身份证11010519491231002X", "身份证[cn_resident_id]"),
    ("旧身份证110105491231002", "旧身份证[cn_resident_id]"),
    ("卡号6222 0200 0000 0000 000", "卡号[credit_card]"),
    ("护照E12345678", "护照[cn_passport]"),
    ("邮箱abc@qq.com", "邮箱[email_address]"),
]
INNOCENT = [
    "blue jeans under 80 dollars", "milwaukee 2804-20 drill", "3/4 in. x 10 ft. copper pipe", "order 12345",
    "Ryobi ONE+ 18-volt P1830", "5000 btu air conditioner", "size 42 shoes",
    "我想买一条牛仔裤", "500元以内的2024款冰箱",
    "3-d-printer", "usb-c to hdmi 2.1 cable", "60w 12v led 4000k", "ratio 16:9 screen",
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PERSONAL)
def test_personal_data_is_masked(text: str, expected: str) -> None:
    """Each kind is found in a sentence of either language, and the rest of the sentence stays."""
    assert masked(text) == expected


@pytest.mark.parametrize("text", INNOCENT)
def test_ordinary_queries_stay(text: str) -> None:
    """Sizes, model numbers and prices are no personal data."""
    assert masked(text) == text
    assert not personal_data_in(text)


@pytest.mark.parametrize("text", [text for text, _ in PERSONAL])
def test_nothing_passes_the_first_look(text: str) -> None:
    """Whatever the recognisers find, the first look without them suspects."""
    assert may_hold_personal_data(text)


def test_hidden_characters_do_not_help() -> None:
    """Full-width digits and characters that show nothing do not hide a number."""
    assert masked("１３８１２３４５６７８") == "[phone_number]"
    assert masked("138\u200b1234\u200b5678") == "[phone_number]"


def test_logs() -> None:
    """Errors in the log quote no number and no address of a person; ports, dates and sizes stay."""
    line = {
        "event": "refused",
        "error": "query: 'anna@example.com 138-1234-5678' is no order",
        "request_id": "123456789",
    }
    hidden = hide_personal_data(None, "info", line)
    assert hidden["error"] == "query: '[removed] [removed]' is no order"
    assert hidden["request_id"] == "123456789"
    kept = "127.0.0.1:50051 on 2026-12-02: 8388608 bytes, id 4f3a2b1c9d8e7f6a"
    assert hide_personal_data(None, "info", {"error": kept})["error"] == kept


def test_check_character() -> None:
    """A resident id needs its check character and a possible date of birth."""
    assert is_resident_id("11010519491231002X")
    assert not is_resident_id("110105194912310021")
    assert not is_resident_id("11010519491331002X")
    assert is_company_code("91350100M000100Y43")
    assert not is_company_code("91350100M000100Y44")


def test_one_process_without_the_engine_and_the_network() -> None:
    """The recognisers load neither spaCy nor torch, open no connection, and leave presidio as it was."""
    script = """
import socket, sys
def refuse(*arguments, **named): raise AssertionError("a connection")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from services.common.personal_data import masked
assert masked("anna@example.com 13812345678") == "[email_address] [phone_number]"
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"spacy", "torch", "presidio_analyzer"}, loaded
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
