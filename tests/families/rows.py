"""Eight rows that a tiny model learns by heart in seconds: (question, answer, worse answer), one answer a long one."""

ROWS = [
    ("I am tired.", "Rest now.", "Work harder."),
    ("My dog died.", "I am sorry.", "Get a new dog."),
    ("I cannot sleep.", "Many do.", "Just sleep."),
    ("My friend left.", "It hurts.", "So call her."),
    ("I feel alone.", "It is lonely.", "Towns are full."),
    ("The baby cries.", "You are doing something very hard with very little sleep, and it shows.", "So?"),
    ("I failed again.", "That stings.", "Try again."),
    ("My father is ill.", "Is he far away?", "He has a doctor."),
]
UNSEEN = "The baby died and I cannot sleep."
