"""Which concepts the checkpoint learns to draw, of the 1,116 that the text encoder can tell apart.

Four hundred thousand pictures, seven hours on two cores, were enough for two hundred; add names to go on from there.
"""

from __future__ import annotations

__all__ = ["LEARNED"]

ANIMALS = (
    "monkey", "gorilla", "dog", "wolf", "fox", "cat", "grinning cat", "lion", "tiger", "leopard", "horse", "unicorn",
    "zebra", "deer", "cow", "pig", "camel", "llama", "giraffe", "elephant", "rhinoceros", "hippopotamus", "mouse",
    "rabbit", "hedgehog", "bat", "bear", "polar bear", "koala", "panda", "sloth", "kangaroo", "turkey", "chicken",
    "rooster", "bird", "penguin", "eagle", "duck", "swan", "owl", "flamingo", "peacock", "parrot", "frog",
    "crocodile", "turtle", "snake", "dragon", "sauropod", "t-rex", "whale", "dolphin", "fish", "tropical fish",
    "shark", "octopus", "jellyfish", "crab", "snail", "butterfly", "ant", "honeybee", "lady beetle", "spider",
)  # fmt: skip
PLANTS = (
    "cherry blossom", "rose", "sunflower", "tulip", "evergreen tree", "deciduous tree", "palm tree", "cactus",
    "four leaf clover", "maple leaf", "mushroom", "christmas tree",
)  # fmt: skip
FOOD = (
    "grapes", "watermelon", "lemon", "banana", "pineapple", "red apple", "green apple", "pear", "peach", "cherries",
    "strawberry", "blueberries", "tomato", "avocado", "eggplant", "carrot", "cucumber", "broccoli", "bread",
    "croissant", "pretzel", "pancakes", "cheese wedge", "hamburger", "french fries", "pizza", "hot dog", "sandwich",
    "taco", "egg", "sushi", "ice cream", "doughnut", "cookie", "birthday cake", "cupcake", "lollipop", "hot beverage",
    "teapot", "wine glass", "beer mug",
)  # fmt: skip
THINGS = (
    "automobile", "taxi", "police car", "racing car", "bus", "tractor", "locomotive", "motorcycle", "bicycle",
    "sailboat", "anchor", "airplane", "helicopter", "rocket", "flying saucer", "house", "church", "castle",
    "ferris wheel", "volcano", "sun", "crescent moon", "ringed planet", "star", "cloud", "rainbow", "snowflake",
    "umbrella", "snowman", "fire", "droplet", "balloon", "wrapped gift", "trophy", "soccer ball", "basketball",
    "crown", "t-shirt", "jeans", "dress", "backpack", "top hat", "glasses", "ring", "gem stone", "guitar", "trumpet",
    "violin", "drum", "microphone", "headphone", "bell", "key", "locked", "scissors", "pencil", "hammer", "bomb",
    "gear", "magnet", "ladder", "light bulb", "candle", "camera", "television", "laptop", "alarm clock",
    "hourglass done", "closed book", "envelope", "game die", "teddy bear", "chair", "bed", "robot", "alien", "ghost",
    "skull", "jack-o-lantern", "red heart", "blue heart", "smiling face",
)  # fmt: skip
LEARNED = frozenset((*ANIMALS, *PLANTS, *FOOD, *THINGS))
