"""The benchmark of the assistant: what is counted as right, as reached, and as passed by the verifier."""

from __future__ import annotations

import io
from collections.abc import Sequence
from decimal import Decimal

from benchmarks.answer_checker import AnswerChecker
from benchmarks.assistant import Checking, dialogue_figures, goal_figures, passed_sentences
from benchmarks.assistant_dialogues import Dialogue, JudgedTurn
from benchmarks.assistant_goals import Goal, Outcome
from benchmarks.conversation import Reply
from benchmarks.scripted_models import ScriptedModel
from kairos.assistant.v1 import assistant_pb2 as pb


def _judged(*faults: Sequence[str]) -> list[JudgedTurn]:
    return [JudgedTurn("hi", Reply(segments=[pb.TextSegment(text="A B")], first_ms=10), tuple(each)) for each in faults]


def _goal(language: str, *, volunteers: bool) -> Goal:
    return Goal(language, "Jeans", "jeans", {}, Decimal(9), volunteers, frozenset(), 9, {}, 1)


def test_a_dialogue_is_right_if_all_its_turns_are() -> None:
    """One fault makes the dialogue wrong, and one of its turns."""
    dialogues = [Dialogue("en", ({"say": "a"}, {"say": "b"})), Dialogue("zh", ({"say": "a"},))]
    found = dialogue_figures(dialogues, [_judged((), ("wrong",)), _judged(())])
    assert (found["all"]["right"], found["all"]["right turns"]) == (0.5, 0.6667)
    assert (found["en"]["right"], found["zh"]["right"]) == (0, 1)


def test_goals_are_counted_by_turn_and_by_kind_of_shopper() -> None:
    """A goal reached in the third turn is within three turns, not within two."""
    goals = [_goal("en", volunteers=True), _goal("zh", volunteers=False)]
    found = goal_figures(goals, [Outcome(3, 2, 1), Outcome(None, 2, 0)])
    assert (found["all"]["reached"], found["all"]["within"]) == (0.5, [0, 0, 0.5, 0.5])
    assert (found["volunteer"]["reached"], found["only answer"]["reached"]) == (1, 0)
    assert (found["all"]["questions"], found["all"]["useless"]) == (2, 0.25)


def test_a_sentence_of_a_model_passes_if_the_shopper_reads_it() -> None:
    """Half of the sentences are in the answer."""
    model = ScriptedModel(lambda prompt, language: [])
    model.sentences += ["A B", "C"]
    assert passed_sentences(model, [_judged(())])["share"] == 0.5


def test_each_answer_is_checked_and_written_down() -> None:
    """An amount without a source is counted, and stands in the transcript with the fault that the dialogue has."""
    written = io.StringIO()
    checking = Checking(AnswerChecker({}, {}), written)
    checking.begin("first")
    checking.look("how much?", Reply(segments=[pb.TextSegment(text="It costs $5.")]), ["not cited"])
    assert checking.report() == {"answers": 1, "unsupported": 1, "kinds": {"price": 1}}
    assert all(text in written.getvalue() for text in ("> how much?", "It costs $5.", "!! not cited", "## price: $5"))
