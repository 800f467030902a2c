"""Parts taken out, scaled or held: what the answer becomes without them."""
