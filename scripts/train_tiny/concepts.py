"""Which concepts the checkpoint learns to draw, of the 1,116 that the text encoder can tell apart.

Two hundred thousand pictures, three hours on two cores, are enough for a hundred; add names to go on from there.
"""

from __future__ import annotations

__all__ = ["LEARNED"]

ANIMALS = (
    "monkey", "dog", "wolf", "fox", "cat", "grinning cat", "lion", "tiger", "horse", "unicorn", "zebra", "cow", "pig",
    "camel", "giraffe", "elephant", "mouse", "rabbit", "bear", "koala", "panda", "chicken", "penguin", "duck", "owl",
    "flamingo", "parrot", "frog", "turtle", "snake", "dragon", "whale", "fish", "shark", "octopus", "crab", "snail",
    "butterfly", "honeybee",
)  # fmt: skip
PLANTS = ("rose", "sunflower", "tulip", "cactus", "mushroom", "deciduous tree")
FOOD = (
    "watermelon", "lemon", "banana", "pineapple", "red apple", "green apple", "cherries", "strawberry", "tomato",
    "avocado", "carrot", "broccoli", "bread", "pretzel", "hamburger", "pizza", "egg", "doughnut", "cupcake",
    "ice cream", "hot beverage", "birthday cake",
)  # fmt: skip
THINGS = (
    "automobile", "bus", "bicycle", "sailboat", "airplane", "helicopter", "rocket", "house", "castle", "volcano", "sun",
    "star", "rainbow", "umbrella", "snowman", "fire", "balloon", "wrapped gift", "trophy", "soccer ball", "basketball",
    "crown", "t-shirt", "guitar", "drum", "bell", "key", "scissors", "pencil", "light bulb", "camera", "robot",
    "ghost", "skull", "jack-o-lantern", "red heart", "blue heart", "smiling face",
)  # fmt: skip
LEARNED = frozenset((*ANIMALS, *PLANTS, *FOOD, *THINGS))
