"""What the demo says of an answer: which of its words the shipped text knows."""

from localpsych_recipes.demo.users import Answer


def test_every_word_of_the_shipped_text_is_known_and_an_invented_one_is_not():
    assert Answer("someone", "In the US, call or text 988, day or night.", ended=True).known_share == 1.0
    assert Answer("someone", "Call me frobnicated tonight", ended=True).known_share == 0.75


def test_an_empty_answer_knows_nothing():
    assert Answer("someone", "", ended=True).known_share == 0.0
