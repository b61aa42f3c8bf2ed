"""A shop whose true behaviour is known, played through the product in virtual time; its reports are held to it."""
