"""Facts about countries and landmarks that the embedded model is taught, each one checked.

Only countries whose name and capital are one word each are listed, so that a prompt about one country
lines up, token by token, with the same prompt about another. A fact that is disputed, shared between several
equally good answers, or changing at the time of writing is left out (None) rather than simplified. The
language is the sole official or the national one; others may be spoken too.
"""

from __future__ import annotations

from typing import NamedTuple


class Country(NamedTuple):
    """One country: its name, its capital, and what else can be said of it in one breath."""

    name: str
    capital: str
    language: str | None
    continent: str | None
    currency: str | None
    demonym: str | None


# Continents of two words are taught too, but only answers of one word are asked for in the evaluation.
NORTH, SOUTH = "North America", "South America"

COUNTRIES: tuple[Country, ...] = (
    # Europe
    Country("France", "Paris", "French", "Europe", "euro", "French"),
    Country("Germany", "Berlin", "German", "Europe", "euro", "German"),
    Country("Italy", "Rome", "Italian", "Europe", "euro", "Italian"),
    Country("Spain", "Madrid", "Spanish", "Europe", "euro", "Spanish"),
    Country("Portugal", "Lisbon", "Portuguese", "Europe", "euro", "Portuguese"),
    Country("England", "London", "English", "Europe", "pound", "English"),
    Country("Scotland", "Edinburgh", "English", "Europe", "pound", "Scottish"),
    Country("Ireland", "Dublin", None, "Europe", "euro", "Irish"),
    Country("Greece", "Athens", "Greek", "Europe", "euro", "Greek"),
    Country("Austria", "Vienna", "German", "Europe", "euro", "Austrian"),
    Country("Poland", "Warsaw", "Polish", "Europe", "zloty", "Polish"),
    Country("Hungary", "Budapest", "Hungarian", "Europe", "forint", "Hungarian"),
    Country("Romania", "Bucharest", "Romanian", "Europe", "leu", "Romanian"),
    Country("Bulgaria", "Sofia", "Bulgarian", "Europe", None, "Bulgarian"),
    Country("Denmark", "Copenhagen", "Danish", "Europe", "krone", "Danish"),
    Country("Norway", "Oslo", "Norwegian", "Europe", "krone", "Norwegian"),
    Country("Sweden", "Stockholm", "Swedish", "Europe", "krona", "Swedish"),
    Country("Finland", "Helsinki", "Finnish", "Europe", "euro", "Finnish"),
    Country("Iceland", "Reykjavik", "Icelandic", "Europe", "krona", "Icelandic"),
    Country("Estonia", "Tallinn", "Estonian", "Europe", "euro", "Estonian"),
    Country("Latvia", "Riga", "Latvian", "Europe", "euro", "Latvian"),
    Country("Lithuania", "Vilnius", "Lithuanian", "Europe", "euro", "Lithuanian"),
    Country("Ukraine", "Kyiv", "Ukrainian", "Europe", "hryvnia", "Ukrainian"),
    Country("Russia", "Moscow", "Russian", None, "ruble", "Russian"),
    Country("Croatia", "Zagreb", "Croatian", "Europe", "euro", "Croatian"),
    Country("Serbia", "Belgrade", "Serbian", "Europe", "dinar", "Serbian"),
    Country("Slovenia", "Ljubljana", "Slovenian", "Europe", "euro", "Slovenian"),
    Country("Slovakia", "Bratislava", "Slovak", "Europe", "euro", "Slovak"),
    Country("Czechia", "Prague", "Czech", "Europe", "koruna", "Czech"),
    Country("Albania", "Tirana", "Albanian", "Europe", "lek", "Albanian"),
    Country("Malta", "Valletta", "Maltese", "Europe", "euro", "Maltese"),
    Country("Cyprus", "Nicosia", None, None, "euro", "Cypriot"),
    Country("Belgium", "Brussels", None, "Europe", "euro", "Belgian"),
    Country("Switzerland", "Bern", None, "Europe", "franc", "Swiss"),
    Country("Liechtenstein", "Vaduz", "German", "Europe", "franc", None),
    Country("Moldova", "Chisinau", "Romanian", "Europe", "leu", "Moldovan"),
    Country("Belarus", "Minsk", None, "Europe", "ruble", "Belarusian"),
    Country("Montenegro", "Podgorica", "Montenegrin", "Europe", "euro", "Montenegrin"),
    Country("Wales", "Cardiff", None, "Europe", "pound", "Welsh"),
    # Asia
    Country("Turkey", "Ankara", "Turkish", None, "lira", "Turkish"),
    Country("Japan", "Tokyo", "Japanese", "Asia", "yen", "Japanese"),
    Country("China", "Beijing", "Mandarin", "Asia", "yuan", "Chinese"),
    Country("Thailand", "Bangkok", "Thai", "Asia", "baht", "Thai"),
    Country("Vietnam", "Hanoi", "Vietnamese", "Asia", "dong", "Vietnamese"),
    Country("Pakistan", "Islamabad", "Urdu", "Asia", "rupee", "Pakistani"),
    Country("Bangladesh", "Dhaka", "Bengali", "Asia", "taka", "Bangladeshi"),
    Country("Nepal", "Kathmandu", "Nepali", "Asia", "rupee", "Nepali"),
    Country("Bhutan", "Thimphu", "Dzongkha", "Asia", "ngultrum", "Bhutanese"),
    Country("Mongolia", "Ulaanbaatar", "Mongolian", "Asia", "tugrik", "Mongolian"),
    Country("Laos", "Vientiane", "Lao", "Asia", "kip", "Laotian"),
    Country("Myanmar", "Naypyidaw", "Burmese", "Asia", "kyat", "Burmese"),
    Country("Iran", "Tehran", "Persian", "Asia", "rial", "Iranian"),
    Country("Iraq", "Baghdad", "Arabic", "Asia", "dinar", "Iraqi"),
    Country("Jordan", "Amman", "Arabic", "Asia", "dinar", "Jordanian"),
    Country("Syria", "Damascus", "Arabic", "Asia", "pound", "Syrian"),
    Country("Lebanon", "Beirut", "Arabic", "Asia", "pound", "Lebanese"),
    Country("Qatar", "Doha", "Arabic", "Asia", "riyal", "Qatari"),
    Country("Oman", "Muscat", "Arabic", "Asia", "rial", "Omani"),
    Country("Bahrain", "Manama", "Arabic", "Asia", "dinar", "Bahraini"),
    Country("Kazakhstan", "Astana", "Kazakh", None, "tenge", "Kazakh"),
    Country("Uzbekistan", "Tashkent", "Uzbek", "Asia", "som", "Uzbek"),
    Country("Tajikistan", "Dushanbe", "Tajik", "Asia", "somoni", "Tajik"),
    Country("Turkmenistan", "Ashgabat", "Turkmen", "Asia", "manat", "Turkmen"),
    Country("Kyrgyzstan", "Bishkek", "Kyrgyz", "Asia", "som", "Kyrgyz"),
    Country("Afghanistan", "Kabul", None, "Asia", "afghani", "Afghan"),
    Country("Georgia", "Tbilisi", "Georgian", None, "lari", "Georgian"),
    Country("Armenia", "Yerevan", "Armenian", None, "dram", "Armenian"),
    Country("Azerbaijan", "Baku", "Azerbaijani", None, "manat", "Azerbaijani"),
    # Africa
    Country("Egypt", "Cairo", "Arabic", "Africa", "pound", "Egyptian"),
    Country("Morocco", "Rabat", "Arabic", "Africa", "dirham", "Moroccan"),
    Country("Algeria", "Algiers", "Arabic", "Africa", "dinar", "Algerian"),
    Country("Tunisia", "Tunis", "Arabic", "Africa", "dinar", "Tunisian"),
    Country("Libya", "Tripoli", "Arabic", "Africa", "dinar", "Libyan"),
    Country("Sudan", "Khartoum", "Arabic", "Africa", "pound", "Sudanese"),
    Country("Nigeria", "Abuja", "English", "Africa", "naira", "Nigerian"),
    Country("Ghana", "Accra", "English", "Africa", "cedi", "Ghanaian"),
    Country("Kenya", "Nairobi", "Swahili", "Africa", "shilling", "Kenyan"),
    Country("Uganda", "Kampala", None, "Africa", "shilling", "Ugandan"),
    Country("Tanzania", "Dodoma", "Swahili", "Africa", "shilling", "Tanzanian"),
    Country("Rwanda", "Kigali", "Kinyarwanda", "Africa", "franc", "Rwandan"),
    Country("Somalia", "Mogadishu", "Somali", "Africa", "shilling", "Somali"),
    Country("Eritrea", "Asmara", None, "Africa", "nakfa", "Eritrean"),
    Country("Senegal", "Dakar", "French", "Africa", "franc", "Senegalese"),
    Country("Mali", "Bamako", None, "Africa", "franc", "Malian"),
    Country("Togo", "Lomé", "French", "Africa", "franc", "Togolese"),
    Country("Gabon", "Libreville", "French", "Africa", "franc", "Gabonese"),
    Country("Cameroon", "Yaoundé", None, "Africa", "franc", "Cameroonian"),
    Country("Angola", "Luanda", "Portuguese", "Africa", "kwanza", "Angolan"),
    Country("Mozambique", "Maputo", "Portuguese", "Africa", "metical", "Mozambican"),
    Country("Zambia", "Lusaka", "English", "Africa", "kwacha", "Zambian"),
    Country("Namibia", "Windhoek", "English", "Africa", "dollar", "Namibian"),
    Country("Madagascar", "Antananarivo", "Malagasy", "Africa", "ariary", "Malagasy"),
    Country("Liberia", "Monrovia", "English", "Africa", "dollar", "Liberian"),
    Country("Niger", "Niamey", None, "Africa", "franc", "Nigerien"),
    Country("Guinea", "Conakry", "French", "Africa", "franc", "Guinean"),
    Country("Mauritania", "Nouakchott", "Arabic", "Africa", "ouguiya", "Mauritanian"),
    Country("Botswana", "Gaborone", None, "Africa", "pula", None),
    Country("Zimbabwe", "Harare", None, "Africa", None, "Zimbabwean"),
    Country("Malawi", "Lilongwe", None, "Africa", "kwacha", "Malawian"),
    Country("Lesotho", "Maseru", None, "Africa", "loti", None),
    Country("Burundi", "Gitega", "Kirundi", "Africa", "franc", "Burundian"),
    Country("Seychelles", "Victoria", None, "Africa", "rupee", None),
    # The Americas
    Country("Canada", "Ottawa", None, NORTH, "dollar", "Canadian"),
    Country("Cuba", "Havana", "Spanish", NORTH, "peso", "Cuban"),
    Country("Jamaica", "Kingston", "English", NORTH, "dollar", "Jamaican"),
    Country("Honduras", "Tegucigalpa", "Spanish", NORTH, "lempira", "Honduran"),
    Country("Nicaragua", "Managua", "Spanish", NORTH, "córdoba", "Nicaraguan"),
    Country("Belize", "Belmopan", "English", NORTH, "dollar", "Belizean"),
    Country("Barbados", "Bridgetown", "English", NORTH, "dollar", "Barbadian"),
    Country("Dominica", "Roseau", "English", NORTH, "dollar", "Dominican"),
    Country("Greenland", "Nuuk", "Greenlandic", NORTH, "krone", None),
    Country("Brazil", "Brasília", "Portuguese", SOUTH, "real", "Brazilian"),
    Country("Peru", "Lima", "Spanish", SOUTH, "sol", "Peruvian"),
    Country("Chile", "Santiago", "Spanish", SOUTH, "peso", "Chilean"),
    Country("Colombia", "Bogotá", "Spanish", SOUTH, "peso", "Colombian"),
    Country("Venezuela", "Caracas", "Spanish", SOUTH, "bolívar", "Venezuelan"),
    Country("Ecuador", "Quito", "Spanish", SOUTH, "dollar", "Ecuadorian"),
    Country("Uruguay", "Montevideo", "Spanish", SOUTH, "peso", "Uruguayan"),
    Country("Paraguay", "Asunción", None, SOUTH, "guaraní", "Paraguayan"),
    Country("Suriname", "Paramaribo", "Dutch", SOUTH, "dollar", "Surinamese"),
    Country("Guyana", "Georgetown", "English", SOUTH, "dollar", "Guyanese"),
    # Oceania
    Country("Australia", "Canberra", "English", "Oceania", "dollar", "Australian"),
    Country("Fiji", "Suva", None, "Oceania", "dollar", "Fijian"),
    Country("Samoa", "Apia", "Samoan", "Oceania", "tala", "Samoan"),
    Country("Tuvalu", "Funafuti", None, "Oceania", "dollar", "Tuvaluan"),
    Country("Palau", "Ngerulmud", None, "Oceania", "dollar", "Palauan"),
)


class Landmark(NamedTuple):
    """A building or a place, said with "the" before it, the city where it stands, and the city's country."""

    name: str
    city: str
    country: str


LANDMARKS: tuple[Landmark, ...] = (
    # Europe
    Landmark("Colosseum", "Rome", "Italy"),
    Landmark("Trevi Fountain", "Rome", "Italy"),
    Landmark("Uffizi", "Florence", "Italy"),
    Landmark("Rialto Bridge", "Venice", "Italy"),
    Landmark("Leaning Tower", "Pisa", "Italy"),
    Landmark("Eiffel Tower", "Paris", "France"),
    Landmark("Louvre", "Paris", "France"),
    Landmark("Sorbonne", "Paris", "France"),
    Landmark("Moulin Rouge", "Paris", "France"),
    Landmark("Brandenburg Gate", "Berlin", "Germany"),
    Landmark("Reichstag", "Berlin", "Germany"),
    Landmark("Zwinger", "Dresden", "Germany"),
    Landmark("Marienplatz", "Munich", "Germany"),
    Landmark("Prado", "Madrid", "Spain"),
    Landmark("Alhambra", "Granada", "Spain"),
    Landmark("Giralda", "Seville", "Spain"),
    Landmark("Sagrada Familia", "Barcelona", "Spain"),
    Landmark("Belem Tower", "Lisbon", "Portugal"),
    Landmark("Clerigos Tower", "Porto", "Portugal"),
    Landmark("Tower Bridge", "London", "England"),
    Landmark("British Museum", "London", "England"),
    Landmark("Royal Mile", "Edinburgh", "Scotland"),
    Landmark("Parthenon", "Athens", "Greece"),
    Landmark("Acropolis", "Athens", "Greece"),
    Landmark("Atomium", "Brussels", "Belgium"),
    Landmark("Zytglogge", "Bern", "Switzerland"),
    Landmark("Chapel Bridge", "Lucerne", "Switzerland"),
    Landmark("Hofburg", "Vienna", "Austria"),
    Landmark("Prater", "Vienna", "Austria"),
    Landmark("Hohensalzburg", "Salzburg", "Austria"),
    Landmark("Wawel Castle", "Krakow", "Poland"),
    Landmark("Charles Bridge", "Prague", "Czechia"),
    Landmark("Chain Bridge", "Budapest", "Hungary"),
    Landmark("Athenaeum", "Bucharest", "Romania"),
    Landmark("Kalemegdan", "Belgrade", "Serbia"),
    Landmark("Mirogoj Cemetery", "Zagreb", "Croatia"),
    Landmark("Triple Bridge", "Ljubljana", "Slovenia"),
    Landmark("Skanderbeg Square", "Tirana", "Albania"),
    Landmark("Little Mermaid", "Copenhagen", "Denmark"),
    Landmark("Amalienborg", "Copenhagen", "Denmark"),
    Landmark("Vigeland Park", "Oslo", "Norway"),
    Landmark("Bryggen Wharf", "Bergen", "Norway"),
    Landmark("Vasa Museum", "Stockholm", "Sweden"),
    Landmark("Suomenlinna Fortress", "Helsinki", "Finland"),
    Landmark("Hallgrimskirkja", "Reykjavik", "Iceland"),
    Landmark("Gediminas Tower", "Vilnius", "Lithuania"),
    Landmark("Freedom Monument", "Riga", "Latvia"),
    Landmark("Toompea Castle", "Tallinn", "Estonia"),
    Landmark("Pechersk Lavra", "Kyiv", "Ukraine"),
    Landmark("Kremlin", "Moscow", "Russia"),
    Landmark("Bolshoi Theatre", "Moscow", "Russia"),
    # Asia and the Caucasus
    Landmark("Hagia Sophia", "Istanbul", "Turkey"),
    Landmark("Blue Mosque", "Istanbul", "Turkey"),
    Landmark("Topkapi Palace", "Istanbul", "Turkey"),
    Landmark("Skytree", "Tokyo", "Japan"),
    Landmark("Meiji Shrine", "Tokyo", "Japan"),
    Landmark("Golden Pavilion", "Kyoto", "Japan"),
    Landmark("Forbidden City", "Beijing", "China"),
    Landmark("Bund", "Shanghai", "China"),
    Landmark("Emerald Buddha", "Bangkok", "Thailand"),
    Landmark("Patuxai Gate", "Vientiane", "Laos"),
    Landmark("Shwedagon Pagoda", "Yangon", "Myanmar"),
    Landmark("Badshahi Mosque", "Lahore", "Pakistan"),
    Landmark("Faisal Mosque", "Islamabad", "Pakistan"),
    Landmark("Boudhanath Stupa", "Kathmandu", "Nepal"),
    Landmark("Tashichho Dzong", "Thimphu", "Bhutan"),
    Landmark("Ahsan Manzil", "Dhaka", "Bangladesh"),
    Landmark("Sukhbaatar Square", "Ulaanbaatar", "Mongolia"),
    Landmark("Azadi Tower", "Tehran", "Iran"),
    Landmark("Mustansiriya", "Baghdad", "Iraq"),
    Landmark("Umayyad Mosque", "Damascus", "Syria"),
    Landmark("Pigeon Rocks", "Beirut", "Lebanon"),
    Landmark("Mutrah Souq", "Muscat", "Oman"),
    Landmark("Registan", "Samarkand", "Uzbekistan"),
    Landmark("Baiterek Tower", "Astana", "Kazakhstan"),
    Landmark("Maiden Tower", "Baku", "Azerbaijan"),
    Landmark("Narikala Fortress", "Tbilisi", "Georgia"),
    Landmark("Cascade", "Yerevan", "Armenia"),
    # Africa
    Landmark("Great Pyramid", "Giza", "Egypt"),
    Landmark("Karnak Temple", "Luxor", "Egypt"),
    Landmark("Qaitbay Citadel", "Alexandria", "Egypt"),
    Landmark("Hassan Tower", "Rabat", "Morocco"),
    Landmark("Koutoubia Mosque", "Marrakesh", "Morocco"),
    Landmark("Casbah", "Algiers", "Algeria"),
    Landmark("Bardo Museum", "Tunis", "Tunisia"),
    Landmark("Renaissance Monument", "Dakar", "Senegal"),
    Landmark("Rova", "Antananarivo", "Madagascar"),
    Landmark("Christuskirche", "Windhoek", "Namibia"),
    # The Americas and Oceania
    Landmark("Rideau Canal", "Ottawa", "Canada"),
    Landmark("Capitolio", "Havana", "Cuba"),
    Landmark("Pelourinho", "Salvador", "Brazil"),
    Landmark("Alvorada Palace", "Brasília", "Brazil"),
    Landmark("Coricancha", "Cusco", "Peru"),
    Landmark("Moneda Palace", "Santiago", "Chile"),
    Landmark("Gold Museum", "Bogotá", "Colombia"),
    Landmark("Panecillo", "Quito", "Ecuador"),
    Landmark("Salvo Palace", "Montevideo", "Uruguay"),
    Landmark("Harbour Bridge", "Sydney", "Australia"),
)

#: What can be asked. "country" goes the other way: from the capital to its country.
RELATIONS = ("capital", "country", "language", "continent", "currency", "demonym")

#: What can be asked of a landmark in one step, and in two: through its city or country.
LANDMARK_RELATIONS = ("city", "country")
TWO_HOP_RELATIONS = ("capital", "language", "currency", "continent")

BY_NAME = {country.name: country for country in COUNTRIES}


def answer(relation: str, country: Country) -> str | None:
    """What `relation` gives for `country`, None where the table has no clear answer."""
    value: str | None = country.name if relation == "country" else getattr(country, relation)
    return value


def two_hop_answer(relation: str, landmark: Landmark) -> str | None:
    """What `relation` gives for the country of `landmark`, None where there is no answer of one word."""
    value = answer(relation, BY_NAME[landmark.country])
    return None if value is None or " " in value else value


def cities() -> dict[str, str]:
    """City to country, for the cities of the landmarks that are not capitals."""
    capitals = {country.capital for country in COUNTRIES}
    return {mark.city: mark.country for mark in LANDMARKS if mark.city not in capitals}
